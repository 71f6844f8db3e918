"""Several models on one device, or one model on several: what each gets of the memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from tersor import registry
from tersor.errors import RecipeError
from tersor.ir.graph import Model
from tersor.ir.placement import Placement
from tersor.ir.sharing import Segment, Share
from tersor.stages.place import judged_form, place

_MOST_DEVICES = 16
"""Segments that are tried where fewer do not suffice."""


@dataclass(frozen=True)
class Together:
    """Models that are compiled together, in the order in which the compiler is given them.

    Attributes:
        sources: the models' files.
        finished: what the files are called that the compiler takes.
        placements: where the operators of each run.
        shares: what each gets of the device's memory.
    """

    sources: tuple[str, ...]
    finished: tuple[str, ...]
    placements: tuple[Placement, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class Pipeline:
    """A model cut for several devices.

    Attributes:
        source: the model's file.
        finished: what the file is called that the compiler takes.
        whole: where its operators run on one device.
        alone: what it gets of the memory of that one.
        segments: its parts, in order.
        enough: the fewest segments that keep all parameters on the chips, where these do not, and more do.
    """

    source: str
    finished: str
    whole: Placement
    alone: Share
    segments: tuple[Segment, ...]
    enough: int | None = None


def place_together(models: Sequence[Model], target: str = "edge_tpu", **options: object) -> Together:
    """Forecast how models share a device whose compiler is given all of them, in this order.

    Raises what `place` does, RecipeError where nothing is known of that, UnsupportedError for compiled models.
    """
    module = _module(target, "share")
    found = [_placed(model, module, options) for model in models]
    placements = tuple(placement for _, placement in found)
    shares = tuple(module.share([model for model, _ in found], placements))
    finished = [_finished(model, given, module) for model, (given, _) in zip(models, found, strict=True)]
    return Together(tuple(model.source or "the model" for model in models), tuple(finished), placements, shares)


def place_segments(model: Model, count: int, target: str = "edge_tpu") -> Pipeline:
    """Propose where to cut a model for so many devices in a row.

    Raises what `place` does, RecipeError where it cannot be cut in so many or nothing is known of that,
    UnsupportedError for a compiled model and for one that the compiler refuses.
    """
    module = _module(target, "segments")
    given, placement = _placed(model, module, {})
    segments = tuple(module.segments(given, count))
    (alone,) = module.share([given], [placement])
    enough = _enough(given, segments, module)
    return Pipeline(model.source or "the model", _finished(model, given, module), placement, alone, segments, enough)


def _enough(model: Model, found: tuple[Segment, ...], module: ModuleType) -> int | None:
    if not _streams(found):
        return None
    with suppress(RecipeError):  # there are no more places to cut it
        for count in range(len(found) + 1, _MOST_DEVICES + 1):
            if not _streams(module.segments(model, count)):
                return count
    return None


def _streams(segments: Sequence[Segment]) -> bool:
    return any(segment.share.streamed for segment in segments)


def _finished(model: Model, given: Model, module: ModuleType) -> str:
    """A quantized file's own name, or what `tersor quantize` would call it."""
    path = Path(model.source or "model.tflite")
    return path.name if given is model else f"{path.stem}.{module.FLAVOUR}.tflite"


def _placed(model: Model, module: ModuleType, options: dict[str, object]) -> tuple[Model, Placement]:
    given, notes = judged_form(model, module)
    placement = place(given, module.NAME, **options)
    return given, replace(placement, notes=(*notes, *placement.notes))


def _module(target: str, asked: str) -> ModuleType:
    module = registry.plugin("targets", target)
    if not hasattr(module, asked):
        able = [name for name in registry.names("targets") if hasattr(registry.plugin("targets", name), asked)]
        what = "several models on one device" if asked == "share" else "one model on several devices"
        raise RecipeError(f"target {target} says nothing of {what}; those that do: {', '.join(able)}")
    return module
