"""The page of results, from the networks' JSON files. A column is a row of `COLUMNS`; empty ones are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MB = 1e6
GOAL = 1e-4
"""Largest difference from Keras, relative to the largest output."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        title: over it.
        key: of the network's `columns` in its JSON; what `cell` is given.
        cell: its text.
    """

    title: str
    key: str
    cell: Callable[[Result], str]

    def text(self, result: Result) -> str:
        """The cell of one network."""
        values = result.get("columns", {}).get(self.key)
        if values is None:
            return ""
        return "**failed**" if "error" in values else self.cell(values)


def _float32(values: Result) -> str:
    worst = worst_difference(values)
    return f"{worst:.1e}" if worst <= GOAL else f"**{worst:.1e}**"


def worst_difference(values: Result) -> float:
    """The float file's distance from Keras on the kernel set where it is larger."""
    return max(float(values[kernels]["to_keras"]) for kernels in ("xnnpack", "builtin"))


def _flavour(values: Result) -> str:
    left = sum(item["count"] for item in values["left_in_float"].values())
    return f"{len(values['kernels'])} of 2" + (f" ({left} ops float)" if left else "")


def _processor(values: Result, *steps: str) -> str:
    """Seconds of the processor; files of an earlier state of the benchmark do not have them."""
    return f"{sum(values['cpu_seconds'][step] for step in steps):.2f}" if "cpu_seconds" in values else ""


def _size(values: Result) -> str:
    return f"{values['bytes'] / MB:.1f} MB"


def _trained(values: Result) -> str:
    """Seconds of the processor to prepare and to train a step, and the file beside the network that was trained."""
    seconds = sum(values["cpu_seconds"].values())
    return f"{seconds:.0f} s, {values['kernels']['xnnpack']['sqnr_db']:.1f} dB"


COLUMNS = (
    Column("read, CPU s", "read", lambda values: _processor(values, "read")),
    Column("to float file, CPU s", "read", lambda values: _processor(values, "read", "optimize", "write")),
    Column("peak MB", "read", lambda values: f"{values['peak_bytes'] / MB:.0f}"),
    Column("float file", "float32", _size),
    Column("difference from Keras", "float32", _float32),
    Column("Keras's own rounding", "float32", lambda values: f"{values['keras_to_float64']:.1e}"),
    Column("float16", "float16", _flavour),
    Column("dynamic", "dynamic", _flavour),
    Column("int8", "int8", _flavour),
    Column("int16x8", "int16x8", _flavour),
    Column("int8 size", "int8", lambda values: f"{values['ratio']:.3f}x" if "ratio" in values else ""),
    Column("int8 SQNR", "int8_fidelity", lambda values: f"{values['sqnr_db']:.1f} dB"),
    Column("uncorrected", "int8_plain", lambda values: f"{values['sqnr_db']:.1f} dB"),
    Column("int8 same answer", "int8_fidelity", lambda values: f"{values['agreement']:.0%}"),
    Column("int8 latency", "latency", lambda values: f"{values['int8']['ratio']:.2f}x"),
    Column("QAT step, file", "qat", _trained),
    Column("tfmot", "tfmot", lambda values: f"{values['seconds']:.0f} s"),
)


def table(results: Sequence[Result]) -> str:
    """One row per network."""
    filled = [column for column in COLUMNS if any(column.key in each.get("columns", {}) for each in results)]
    head = ["network", "pixels", "parameters", *(column.title for column in filled)]
    rows = [
        [each["name"], str(each["side"]), f"{each['parameters'] / MB:.1f} M", *(c.text(each) for c in filled)]
        for each in results
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def summary(results: Sequence[Result]) -> str:
    """What the table says, in counts."""
    count = len(results)
    lines = [f"- {count} networks read and written as float files."]
    differences = {each["name"]: worst_difference(each["columns"]["float32"]) for each in results}
    beyond = [f"{name} ({value:.1e})" for name, value in differences.items() if value > GOAL]
    within = count - len(beyond)
    text = f"- {within} of {count} answer within {GOAL:.0e} of Keras's `predict` on both kernel sets"
    lines.append(
        text + (f"; beyond: {', '.join(beyond)}." if beyond else f"; the worst is {max(differences.values()):.1e}.")
    )
    for name in ("float16", "dynamic", "int8", "int16x8"):
        made = [each["columns"][name] for each in results if "error" not in each["columns"][name]]
        whole = sum(not values["left_in_float"] for values in made)
        text = f"- {name}: {len(made)} of {count} made, loaded and run on both kernel sets"
        lines.append(text + (f", {whole} of them in integers throughout." if name.startswith("int") else "."))
    for name, whose in (("qat", "tersor"), ("tfmot", "TensorFlow Model Optimization, on Keras 2")):
        tried = [each["columns"][name] for each in results if name in each["columns"]]
        lines.append(f"- quantization-aware training, {whose}: {_made(tried)} of {len(tried)} train a step for int8.")
    return "\n".join(lines)


def _made(columns: Sequence[Result]) -> int:
    return sum("error" not in values for values in columns)


def notes(results: Sequence[Result]) -> str:
    """Operators left in float and failures, by reason."""
    found: dict[str, list[str]] = {}
    for each in results:
        for name, values in each["columns"].items():
            if "error" in values:
                found.setdefault(f"{name} failed: {values['error']}", []).append(each["name"])
            for kind, item in values.get("left_in_float", {}).items() if isinstance(values, dict) else ():
                found.setdefault(f"{name}, {kind} stays in float: {_general(item['why'])}", []).append(each["name"])
    if not found:
        return "Nothing stays in float and nothing failed."
    return "\n".join(f"- {what} ({', '.join(names)})" for what, names in found.items())


def _general(reason: str) -> str:
    """A reason without the names of tensors, so that networks that share it share a line."""
    parts = reason.split("'")
    return "...".join(parts[::2]) if len(parts) > 1 else reason


def states(results: Iterable[Result]) -> str:
    """What the figures were made with."""
    found: dict[str, list[str]] = {}
    for each in results:
        made = each["made_with"]
        reference = made["versions"]["tensorflow"]
        backends = ", ".join(f"{name} {reference[name]}" for name in ("tensorflow-cpu", "torch") if name in reference)
        state = (
            f"tersor source {made['tersor_source']}, keras {reference['keras']} on {backends}, "
            f"ai-edge-litert {made['versions']['tersor']['ai-edge-litert']}, {made['processor']}, {each['date']}"
            f"{', quick' if made['quick'] else ''}"
        )
        found.setdefault(state, []).append(each["name"])
    if len(found) == 1:
        return next(iter(found)) + "."
    return "\n".join(f"- {state}: {', '.join(names)}" for state, names in found.items())


def page(results: Sequence[Result], order: Sequence[str]) -> str:
    """The whole page in Markdown.

    Args:
        results: the networks' JSON, in order.
        order: names of all networks that the benchmark knows.
    """
    done = [each for each in results if "columns" in each]
    for each in done:
        if "error" not in each["columns"]["int8"]:
            each["columns"]["int8"]["ratio"] = each["columns"]["int8"]["bytes"] / each["columns"]["float32"]["bytes"]
    failed = [f"- {each['name']}: {each['error']}" for each in results if "error" in each]
    missing = [name for name in order if name not in {each["name"] for each in results}]
    left_out = f"Not measured yet: {', '.join(missing)}.\n" if missing else ""
    if failed:
        left_out += "The benchmark failed on:\n\n" + "\n".join(failed) + "\n"
    return f"""# Results: the Keras applications

Every image-classification network of `keras.applications`, from the `.keras` file to verified LiteRT files, without
TensorFlow on tersor's side. Made by `python benchmarks/zoo.py --work DIR` (it goes on where it was cut short; all
figures are in [benchmarks/zoo](benchmarks/zoo)), one processor, at low priority.

{summary(done)}

{table(done)}

{left_out}
## What the columns say

- **read**: the `.keras` file into tersor's model; **to float file**: read, optimized and written; **peak**: of that
  whole process. Seconds of the processor, since the machine had other work; those on the clock are in the files.
- **difference from Keras**: largest difference from `predict`, relative to the largest output of the image; the worst
  of some images and of both kernel sets (XNNPACK, builtin). Goal: {GOAL:.0e}. **Keras's own rounding** is the same
  measure between Keras in float32 and the same network in float64: less than that nobody can ask for.
- **float16, dynamic, int8, int16x8**: on how many of the two kernel sets the file was loaded and run, and answered
  neither dead nor infinite (16 images; 4 on the slower set; 1 for int16x8, which has no fast kernels). "Ops float": how
  many operators had to stay in float, because LiteRT has no integer kernel; where there are none, int8 takes and gives
  int8.
- **int8 size**: of the float file. **SQNR** and **same answer** (arg-max): int8 on XNNPACK against the float file, on
  images that calibration has not seen, at the softmax; **uncorrected** is the SQNR without the corrections that
  `tersor quantize` makes by default. **latency**: int8 over float, XNNPACK, one thread, in turn.
- **QAT step, file**: seconds of the processor to prepare a network of at most 128 pixels for quantization-aware
  training and to train a batch of 2, and how far the file (XNNPACK) is from the network that was trained. **tfmot**:
  seconds of the same with TensorFlow Model Optimization and Keras 2; it does not take Keras 3. What these columns were
  made with is in the files.

## The weights

They are random, since weights cannot be shipped, but made to behave like trained ones (`benchmarks/zoo/alive.py`): each
batch normalization has the statistics that it sees on structured images, layer after layer; scales and offsets vary;
residual branches are damped as training leaves them; the taps of a kernel have something in common; and the classifier
looks at the directions in which images differ, sharp enough that the median confidence is 0.7 on the images that
statistics were taken from. That last step matters: on the flat softmax of initial weights, int8's step of 1/256 is
larger than every probability, and every SQNR would be meaningless. Such networks still magnify errors more than trained
ones, the deeper the more: SQNR and agreement compare networks and versions of tersor; they are no accuracy.

## What stays in float, what failed

{notes(done)}

## Made with

{states(done)}
"""
