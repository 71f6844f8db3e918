"""Why an operator is wrong, and what cures it: one function per cause, whose docstring is the rule.

Each gets a `Case` and returns what was seen, or None. Thresholds are where the effect is large enough to act on; they
were set on MobileNetV1 0.25 by TensorFlow's converter, whose causes are known, and on networks made to have each fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.ir.quant import PerTensor, QuantParams
from tersor.ops import ALL, BIAS, FIXED, OPS, WEIGHT, Range
from tersor.stages.debug.errors import Errors, ValueSums
from tersor.stages.debug.match import real_values
from tersor.targets._doubtful import lost_below

GOOD_DB = 25.0
"""An error this far below the signal's variance needs no cause."""

_COARSE_STEPS = 0.5
"""Root mean square error in steps of the result from which more than its own rounding is at work (that makes 0.289)."""

_FEW_LEVELS = 1 / 6
"""Of the range: nearly all values in so small a part of it leave five bits or fewer to them."""

_FEW_CHANNELS = 0.25
"""Share of the channels that are called few."""

_STILL = 1e-4
"""Of the range: a channel that moves by less is constant."""

DEEP_DB = 6.0
"""An operator's own error this far below the error of its result is not what makes it wrong."""

Seen = tuple[str, str] | None
"""What was seen, and the cure; None if the cause does not apply."""


@dataclass(frozen=True)
class Case:
    """What is known of an operator.

    Attributes:
        op: of the quantized graph.
        graph: the quantized graph.
        floats: the float values of its result.
        params: of its result.
        own: its own error, on rounded but otherwise right operands; None where it could not be measured.
        total: the error of its result in the quantized network.
        visible: the bounds beyond which readers of the result see no difference; errors and values are as they see it.
    """

    op: Op
    graph: Graph
    floats: ValueSums
    params: QuantParams
    own: Errors | None
    total: Errors
    visible: Range = ALL

    @property
    def error(self) -> Errors:
        """Its own error, or that of its result where that is not known."""
        return self.own or self.total

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to explain."""
        return self.error.ac_sqnr_db >= GOOD_DB

    def operand(self, role: str) -> tuple[Array | None, QuantParams | None]:
        """The real values and the numbers of the constant operand of a role."""
        index = OPS[self.op.kind].operand_index(role) if self.op.kind in OPS else None
        tensor = None if index is None else self.graph.operand(self.op, index)
        if tensor is None or not tensor.is_constant:
            return None, None
        return real_values(tensor), tensor.quant

    @property
    def weight_axis(self) -> int:
        """The axis of output channels in the weights."""
        return OPS[self.op.kind].weight_axis or 0


@dataclass(frozen=True)
class Finding:
    """A cause.

    Attributes:
        cause: its name: that of the function that found it.
        seen: what was seen, with figures.
        cure: what to do.
    """

    cause: str
    seen: str
    cure: str


def shifted_means(case: Case) -> Seen:
    """A large part of the error is a constant shift of whole channels.

    Rounding errors of weights do not cancel where inputs have a mean, and the shifts accumulate from layer to layer. A
    shift that is gone in the network is none: a corrected bias makes up for what reaches the layer.
    """
    error = case.error
    if case.total.shift_share * case.total.mse < error.shift_share * error.mse / 2:
        return None
    if error.steps < _COARSE_STEPS or error.shift_share < 0.4 or error.shifts.size < 2:
        return None
    if case.operand(WEIGHT)[0] is None:
        return None
    worst = np.argsort(-np.abs(error.shifts))[:3]
    shifts = ", ".join(f"{place} by {error.shifts[place] / case.params.scale:+.1f}" for place in worst)
    seen = f"{error.shift_share:.0%} of its error is a shift of channel means (channels {shifts} steps)"
    return seen, "bias_correction (tersor does it by default)"


def coarse_weights(case: Case) -> Seen:
    """The error is several times what rounding the result costs: that of large weights whose products cancel."""
    error, (weights, _) = case.error, case.operand(WEIGHT)
    if weights is None or error.steps < 3 * _COARSE_STEPS or error.shift_share >= 0.4:
        return None
    seen = f"its error of {error.steps:.1f} steps is that of its rounded weights (rounding the result makes 0.3)"
    return seen, "coordinate_descent or another rounding on data, with a larger fan_in_limit; bias_correction"


def spread_of_channels(case: Case) -> Seen:
    """One scale serves channels whose largest weights differ by more than a factor of 16.

    The small ones keep four bits or fewer.
    """
    weights, params = case.operand(WEIGHT)
    if weights is None or params is None or not isinstance(params.granularity, PerTensor):
        return None
    bounds = _largest(weights, case.weight_axis)
    alive = bounds[bounds > 0]
    if case.is_good or alive.size < 2 or alive.max() < 16 * np.median(alive):
        return None
    seen = f"one scale for weights whose channels reach from {alive.min():.2g} to {alive.max():.2g}"
    return seen, "a scale per channel; if the device has none: zero_dead_channels, cross_layer_equalization"


def dead_channels(case: Case) -> Seen:
    """Channels that never change on the data have the largest weights, and set the scale that all share."""
    weights, params = case.operand(WEIGHT)
    if weights is None or params is None or not isinstance(params.granularity, PerTensor):
        return None
    bounds, variance = _largest(weights, case.weight_axis), case.floats.variance
    if bounds.size != variance.size or not variance.max():
        return None
    dead = variance <= 1e-10 * variance.max()
    if not dead.any() or dead.all() or bounds[dead].max() < 2 * bounds[~dead].max():
        return None
    largest, others = bounds[dead].max(), bounds[~dead].max()
    seen = f"{int(dead.sum())} channels never change, with weights up to {largest:.3g}; the others' reach {others:.3g}"
    return seen, "zero_dead_channels"


def clipped_values(case: Case) -> Seen:
    """More than one value in a thousand lies beyond what the integers can stand for, and readers see that it does.

    What a kernel fixes is none: of probabilities near 1, a step is lost.
    """
    if case.total.clipped < 1e-3 or _has_fixed_scale(case):
        return None
    low, high = case.params.real_range
    seen = f"{case.total.clipped:.2%} of its float values lie beyond {low:.3g}..{high:.3g}"
    return seen, "more, or more typical, calibration samples; the min_max observer"


def unseen_range(case: Case) -> Seen:
    """Half of the range or more lies where the readers of the values see no difference, as a hard swish below -3."""
    low, high = case.params.real_range
    width = min(high, case.visible[1]) - max(low, case.visible[0])
    if case.is_good or case.visible == ALL or 2 * width > high - low:
        return None
    place = f"below {case.visible[0]:.3g}" if low < case.visible[0] else f"above {case.visible[1]:.3g}"
    seen = f"{1 - max(width, 0) / (high - low):.0%} of its levels lie {place}, where its readers see no difference"
    return seen, "a range that ends there (tersor quantize does it by itself)"


def range_of_channels(case: Case) -> Seen:
    """Few whole channels lie far from all others and stretch the range: to clip it would move them altogether."""
    outer = None if _has_fixed_scale(case) else _outlying_channels(case)
    if outer is None or unseen_range(case) is not None:
        return None
    lows, highs = case.floats.bounds
    constant = bool((highs - lows)[outer].max() <= _STILL * (highs.max() - lows.min()))
    seen = (
        f"of {lows.size} channels, {_listed(outer)} {'lies' if np.count_nonzero(outer) == 1 else 'lie'} at "
        f"{lows[outer].min():.4g}..{highs[outer].max():.4g}{', always the same,' * constant} and the others at "
        f"{lows[~outer].min():.4g}..{highs[~outer].max():.4g}"
    )
    if constant:
        return seen, "set channels that never change to 0, and add what they contribute to the next bias"
    return seen, "16-bit activations for this operator, outlier_splitting (an observer that clips moves whole channels)"


def range_of_outliers(case: Case) -> Seen:
    """Nearly all values lie in a small part of the range, which few outliers stretch."""
    used = case.floats.levels_of_most()
    if case.is_good or used > _FEW_LEVELS or _has_fixed_scale(case):
        return None
    if unseen_range(case) is not None or range_of_channels(case) is not None:
        return None
    seen = f"99.9 % of its values take {used * 256:.0f} of 256 levels"
    return (
        seen,
        "an observer that clips, outlier_splitting if few channels have them, or 16-bit activations for this operator",
    )


def unfolded_batch_norm(case: Case) -> Seen:
    """A product or sum with a constant per channel: a batch normalization that was not folded into a layer.

    That happens where an activation function comes before it.
    """
    if case.is_good or case.op.kind not in ("MUL", "ADD", "SUB"):
        return None
    constants = [case.graph.tensors[name] for name in case.op.present_inputs if case.graph.tensors[name].is_constant]
    if not constants or constants[0].elements < 2:
        return None
    seen = f"{case.op.kind} with a constant per channel, in integers of one scale: a batch norm that did not fold"
    return seen, "normalize before the activation function (layer, batch norm, activation), and train again"


def overflowing_bias(case: Case) -> Seen:
    """Biases need more than half of 32 bits in units of input scale x weight scale."""
    index = OPS[case.op.kind].operand_index(BIAS) if case.op.kind in OPS else None
    tensor = None if index is None else case.graph.operand(case.op, index)
    if tensor is None or tensor.data is None or tensor.data.dtype != np.int32:
        return None
    largest = int(np.abs(tensor.data.astype(np.int64)).max(initial=0))
    if largest <= 5 << 28:  # five eighths of the limit; tersor stays below a half
        return None
    return f"a bias of {largest:,} is near the limit of 32 bits", "wider scales of these weights, as tersor makes them"


def unbounded_product(case: Case) -> Seen:
    """A product of two activations, as x sigmoid(x), is unbounded: its largest values set the scale."""
    if case.is_good or case.op.kind != "MUL":
        return None
    if any(case.graph.tensors[name].is_constant for name in case.op.present_inputs) or len(case.op.present_inputs) != 2:
        return None
    seen = f"a product of activations, {case.floats.smallest:.3g}..{case.floats.largest:.3g}"
    return seen, "a bounded activation (hard swish, ReLU6) at training; 16-bit activations for it"


def lost_quotients(case: Case) -> Seen:
    """A division in integers answers its largest or smallest number where the quotient is small: its kernel's fault."""
    least, (low, high) = lost_below(case.graph, case.op), case.params.real_range
    if least is None or 4 * case.error.max_abs < high - low:
        return None
    seen = f"numerators below {least:.2g} come out as {low:.3g} or {high:.3g}: its integer kernel cannot do with them"
    return seen, "leave it in float (tersor does it by itself), or divide by a constant, which is a product"


def small_probabilities(case: Case) -> Seen:
    """Results of a fixed scale of 1/256 or 1/128: smaller ones become 0."""
    if case.is_good or case.op.kind not in ("SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION"):
        return None
    seen = f"its scale is fixed at {case.params.scale:.4g}, its largest value is {case.floats.largest:.3g}"
    return seen, "leave it in float (--keep-float), or take the values before it"


def accumulated_error(case: Case) -> Seen:
    """Its own error is small: what reaches it is wrong already."""
    if case.own is None or case.total.ac_sqnr_db >= GOOD_DB or case.own.sqnr_db < case.total.sqnr_db + DEEP_DB:
        return None
    alone = "be exact" if math.isinf(case.own.sqnr_db) else f"reach {case.own.sqnr_db:.0f} dB"
    return f"by itself it would {alone}: the error comes from before", "cure the operators before it"


CAUSES: tuple[Callable[[Case], Seen], ...] = (
    shifted_means,
    coarse_weights,
    dead_channels,
    spread_of_channels,
    clipped_values,
    unseen_range,
    range_of_channels,
    range_of_outliers,
    unfolded_batch_norm,
    overflowing_bias,
    unbounded_product,
    lost_quotients,
    small_probabilities,
)


def findings(case: Case) -> tuple[Finding, ...]:
    """All causes that apply, the likeliest first; the error of others only if it has none of its own."""
    found = [Finding(cause.__name__, *seen) for cause in CAUSES if (seen := cause(case)) is not None]
    inherited = accumulated_error(case)
    return tuple(found) if found or inherited is None else (Finding(accumulated_error.__name__, *inherited),)


def _has_fixed_scale(case: Case) -> bool:
    return case.op.kind in OPS and OPS[case.op.kind].scale == FIXED


def _outlying_channels(case: Case) -> Array | None:
    """Which channels lie in the outer half of the range while all others lie in another; None if it is not so."""
    lows, highs = case.floats.bounds
    width = max(highs.max(), 0.0) - min(lows.min(), 0.0)
    if case.is_good or lows.size < 4 or not width > 0:
        return None
    middle = (lows + highs) / 2
    outer = np.abs(middle - np.median(middle)) > width / 4
    if not outer.any() or np.count_nonzero(outer) > lows.size * _FEW_CHANNELS:
        return None
    rest = max(highs[~outer].max(), 0.0) - min(lows[~outer].min(), 0.0)
    apart = (highs[outer] < lows[~outer].min()) | (lows[outer] > highs[~outer].max())
    return outer if 2 * rest <= width and apart.all() else None


def _listed(chosen: Array) -> str:
    """Channels by their numbers, the first few."""
    places = [str(place) for place in np.flatnonzero(chosen)]
    return f"number{'s' * (len(places) > 1)} {', '.join(places[:3])}{' ...' * (len(places) > 3)}"


def _largest(weights: Array, axis: int) -> Array:
    """The largest weight of each channel."""
    return np.asarray(np.abs(weights).max(axis=tuple(place for place in range(weights.ndim) if place != axis)))
