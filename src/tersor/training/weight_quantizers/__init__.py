"""Rounding of weights while a network trains: the float copy is updated, the rounded one computes."""

from __future__ import annotations

from tersor.training.weight_quantizers.binary import Binary
from tersor.training.weight_quantizers.contract import WeightQuantizer
from tersor.training.weight_quantizers.dorefa import DoReFa
from tersor.training.weight_quantizers.learned_scale import LearnedScale
from tersor.training.weight_quantizers.ternary import Ternary, TrainedTernary
from tersor.training.weight_quantizers.uniform import Uniform

__all__ = ["Binary", "DoReFa", "LearnedScale", "Ternary", "TrainedTernary", "Uniform", "WeightQuantizer"]
