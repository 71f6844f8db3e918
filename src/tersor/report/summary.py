"""What a report says on its first screen: what to ship, what it gains, what it costs, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tersor.report import words
from tersor.report.document import Accuracy, Candidate, Document
from tersor.stages.evaluate import SHARES
from tersor.stages.quantities import milliseconds, size
from tersor.stages.search.front import is_too_noisy
from tersor.stages.search.reasons import NOT_COUNTED

HERE = "cpu"
"""The target that is timed on the machine that measures."""


@dataclass(frozen=True)
class Tile:
    """One figure of the first screen: what it is, in words a person says, and what it rests on.

    `tone`: "good", "bad" or "plain".
    """

    title: str
    value: str
    detail: str
    tone: str = "plain"


def headline(found: Document) -> str:
    """What to do, in a few words."""
    if found.picked is None:
        return "Nothing to ship yet"
    return f"Ship {found.picked.name}" if found.reached else f"Nothing keeps the limits; {found.pick} comes nearest"


def file_title(found: Document) -> str:
    """What the picked file is called: what misses a limit is not to be shipped unread."""
    return "The file to ship" if found.reached else "The file"


_VERDICTS = {
    "shown": "Kept on {samples} samples, even at the cautious end of the interval.",
    "reached": "Kept on {samples} samples; whether it would be on others, more samples would tell for sure.",
    "open": "What was measured on {samples} samples is beyond it by no more than chance; more samples would tell.",
    "missed": "Missed on {samples} samples.",
}


_KINDS = {
    "float32": "the float model, with what needs no computing taken out",
    "float16": "weights stored as 16-bit floats, computed with as before",
    "weight_only": "weights stored as 8-bit integers, computed with as floats",
    "dynamic": "weights as 8-bit integers, everything else rounded on the fly",
    "int8": "everything in 8-bit integers, inputs and outputs too",
    "int8_float_io": "everything in 8-bit integers, with float inputs and outputs",
    "uint8": "everything in 8-bit integers, with unsigned bytes as inputs and outputs",
    "int8_w4": "everything in integers: weights of 4 bits (8 in small layers), results of 8",
    "int16x8": "everything in integers: weights of 8 bits, results of 16",
}


def kind(name: str) -> str:
    """What a candidate is, in a few words; "" for one by a recipe of the user's own."""
    flavour, _, rest = name.partition(".")
    known = _KINDS.get(flavour, "")
    return f"{known}; mended by repair" if known and rest == "repaired" else known


@dataclass(frozen=True)
class Reasons:
    """Why the pick, and why not each of the others."""

    first: tuple[str, ...]
    others: tuple[str, ...]


def reasons(found: Document) -> Reasons:
    """The sentences of a search, those about others apart, but for rivals that look better than the pick."""
    names = tuple(f"{item.name} is out" for item in found.candidates)
    others = tuple(item for item in found.reasons if item.startswith(names) and NOT_COUNTED not in item)
    return Reasons(tuple(item for item in found.reasons if item not in others), others)


def verdict(found: Document) -> str:
    """Whether what was asked for is kept, and how sure that is."""
    if found.goal is None:
        return "Accuracy was not measured: without samples nobody can say what quantization costs here."
    asked = f"{'The usual limit' if found.limits.max_drop_is_default else 'Your limit'}: {found.goal}."
    said = _VERDICTS.get(found.verdict or "", "").format(samples=found.conditions.reporting_samples)
    return f"{asked} {said}".rstrip()


def tiles(found: Document) -> list[Tile]:
    """The figures of the pick that everybody asks for."""
    pick = found.picked
    if pick is None:
        return []
    memory = [] if found.target == HERE else [_memory_tile(found, pick)]
    return [_size_tile(found, pick), *memory, _speed_tile(found, pick), *_quality_tiles(found, pick)]


def _size_tile(found: Document, pick: Candidate) -> Tile:
    detail = f"{size(pick.size_bytes)} instead of {size(found.reference.size_bytes)}"
    sent = f"; {size(pick.gzip_bytes)} to download (gzip)"
    tone = "good" if pick.size_ratio <= 0.97 else "plain"
    return Tile("Size", words.times_smaller(pick.size_ratio), detail + sent, tone)


def _memory_tile(found: Document, pick: Candidate) -> Tile:
    measured, beside = pick.measured_arena_bytes, found.reference.measured_arena_bytes
    if measured and beside:
        detail = f"an arena of {size(measured)} instead of {size(beside)}, measured in TensorFlow Lite Micro"
        tone = "good" if measured < 0.97 * beside else "plain"
        return Tile("Working memory", words.times_smaller(measured / beside), detail, tone)
    if measured:
        return Tile("Working memory", size(measured), "the arena that TensorFlow Lite Micro needs, measured")
    before, now = found.reference.arena_bytes, pick.arena_bytes
    if not before or not now:
        return Tile("Working memory", "not known", "what a device needs for intermediate results was not computed")
    detail = f"{size(now)} instead of {size(before)} for intermediate results, at least (computed)"
    return Tile("Working memory", words.times_smaller(now / before), detail, "good" if now < 0.97 * before else "plain")


def _speed_tile(found: Document, pick: Candidate) -> Tile:
    ratio, now = pick.latency_ratio, pick.latency_ms
    if ratio is None or now is None:
        return Tile("Speed", "not measured", "no time was taken of this file on this machine")
    low, high = pick.latency_ratio_interval or (ratio, ratio)
    threads = found.conditions.threads
    if found.target != HERE:
        detail = f"{found.target} is not here to be timed; figures of time below are of the CPU that measured"
        return Tile("Speed", "not measured", detail)
    detail = (
        f"{milliseconds(now)} for one sample, {ratio:.2f} times as long as the float model (95 %: {low:.2f} to "
        f"{high:.2f}), with {threads} thread{'s' if threads > 1 else ''} of the machine that measured; your device may "
        "differ"
    )
    if low <= 1 <= high:
        return Tile("Speed", "too noisy to tell" if is_too_noisy((low, high)) else "about as fast as before", detail)
    tone = "good" if ratio < 1 - words.ALIKE else "bad" if ratio > 1 + words.ALIKE else "plain"
    return Tile("Speed", words.times_faster(ratio), detail, tone)


def _quality_tiles(found: Document, pick: Candidate) -> list[Tile]:
    made = []
    score, moved, before = pick.accuracy_metric, pick.accuracy_change, found.reference.accuracy_metric
    if score is not None and moved is not None and before is not None:
        made.append(_accuracy_tile(pick, score, before))
    if pick.agreement is not None:
        of = found.conditions.reporting_samples
        detail = f"so many of {of} samples get the answer that the float model gives, be it right or wrong"
        made.append(Tile("Same answers", words.percent(pick.agreement), detail))
    elif pick.sqnr_db is not None and not made:
        share = 10 ** (-pick.sqnr_db / 10)
        detail = f"of the power of the outputs is rounding noise (SQNR {pick.sqnr_db:.1f} dB)"
        made.append(Tile("Noise", f"{100 * share:.2g}{words.PERCENT}", detail))
    return made or [Tile("Accuracy", "not measured", "give samples with --data to learn what it costs")]


def _accuracy_tile(pick: Candidate, score: Accuracy, before: Accuracy) -> Tile:
    moved = pick.accuracy_change
    assert moved is not None
    metric, unit = score.metric, " points" if score.metric in SHARES else ""
    low, high = (words.signed(metric, bound) for bound in moved.interval)
    sure = ", which is more than chance" if moved.significant else ", which may be chance" if moved.value else ""
    detail = (
        f"{words.metric_name(metric)} on {score.samples} samples, before and after: "
        f"{_moved(metric, moved.value)}{unit}{sure}; "
        f"on other samples the change would likely lie between {low} and {high}{unit} (95 %)"
    )
    value = f"{words.metric_value(metric, before.value)} → {words.metric_value(metric, score.value)}"
    if moved.value is None or not moved.significant:
        return Tile("Accuracy", value, detail)
    return Tile("Accuracy", value, detail, "good" if (moved.value > 0) != (metric == "mse") else "bad")


def _moved(metric: str, value: float | None) -> str:
    """A change with its direction."""
    if value is None or not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "changed by 0"
    return f"{'higher' if value > 0 else 'lower'} by {words.signed(metric, abs(value)).lstrip('+')}"


def basis(found: Document) -> str:
    """What the first screen rests on."""
    own = found.conditions
    if not own.reporting_samples:
        return "Sizes and times were measured; accuracy needs samples."
    return (
        f"Ranges come from {own.calibration_samples} samples, candidates were chosen by {own.tuning_samples} others. "
        f"All figures here are from {own.reporting_samples} more, which could refuse a choice but not make one."
    )


def facts(found: Document) -> list[tuple[str, str]]:
    """Samples, machine and versions, by name."""
    own = found.conditions
    said = [("Model", found.model or "one in memory"), ("Target", found.target)]
    if own.data:
        said.append(("Samples", own.data))
    if own.reporting_samples:
        used = f"{own.calibration_samples} to calibrate, {own.tuning_samples} to choose by"
        said.append(("How they were used", f"{used}, {own.reporting_samples} to report on"))
    threads = f"{own.threads} thread{'s' if own.threads > 1 else ''}"
    said.append(("Timed on", f"{own.processor}, {threads}, {own.kernels} kernels"))
    said.append(("Versions", ", ".join(f"{name} {version}" for name, version in own.versions.items())))
    if found.seconds:
        said.append(("Took", f"{found.seconds:.0f} seconds"))
    return said
