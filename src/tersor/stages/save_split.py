"""`Split` -> files: the parts, and what connects them. All or nothing, and only if they answer as the whole does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.errors import OutputError
from tersor.formats import tflite
from tersor.ir.graph import Graph
from tersor.ir.placement import CPU
from tersor.runtimes.engine import Engine
from tersor.runtimes.litert import KERNEL_SETS
from tersor.stages.chain import Chained, chained
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.save import atomic
from tersor.stages.split import Part, Split


@dataclass(frozen=True, eq=False)
class SplitFiles:
    """A split that was written.

    Attributes:
        split: what was cut.
        paths: of the parts' files, in order; empty where the accelerator runs the whole model, which is one file.
        manifest: the JSON file that connects them; None likewise.
        chained: what was seen on each kernel set; empty likewise.
    """

    split: Split
    paths: tuple[Path, ...]
    manifest: Path | None
    chained: tuple[Chained, ...]


def save_split(
    found: Split, path: str | Path, samples: Sequence[object] = (), *, engine: Engine | None = None
) -> SplitFiles:
    """Write the parts beside `path`, which the whole model has or would have, and their manifest.

    Args:
        found: what `split` made.
        path: `net.tflite` gives `net.1-edge_tpu.tflite`, `net.2-cpu.tflite` and `net.split.json`.
        samples: to verify on, at most `chain.SAMPLES`; by default random ones.
        engine: the process to run in; by default one of its own.

    Raises VerificationError if the chain answers otherwise than the whole, RuntimeFailure if a file does not run,
    DataError for samples that do not fit, OutputError. Nothing is written then.
    """
    with ExitStack() as stack:
        runner = engine or stack.enter_context(Engine())
        return stack.enter_context(split_files(found, Path(path), samples, runner))


@contextmanager
def split_files(
    found: Split, path: Path, samples: Sequence[object], engine: Engine, whole: Path | None = None
) -> Iterator[SplitFiles]:
    """`save_split` where the files get their names at the end of a block, if that ends well.

    Files of an earlier split under these names are removed then: they are parts of another model.

    Args:
        found: what `split` made.
        path: what the parts' names are made of.
        samples: to verify on; random ones if there are none.
        engine: the process to run in.
        whole: where the whole model's file lies now; by default its own, or a temporary one.
    """
    own = Path(found.whole.source).resolve() if found.whole.source else None
    earlier = [item for item in earlier_split(path) if item.resolve() != own]
    if len(found.parts) == 1:
        yield SplitFiles(found, (), None, ())
        _remove(earlier)
        return
    paths = tuple(_part_path(path, number, part.on) for number, part in enumerate(found.parts, 1))
    manifest = _manifest_path(path)
    if own in {item.resolve() for item in paths}:
        raise OutputError(f"{own}: would be replaced by one of its parts; give another folder (--output)")
    admit_tensorflow_ops(found.whole, engine)
    with ExitStack() as stack:
        temporary = [stack.enter_context(atomic(item)) for item in paths]
        described = stack.enter_context(atomic(manifest))
        for part, place in zip(found.parts, temporary, strict=True):
            tflite.write(part.model, place)
        if whole is None:
            whole = stack.enter_context(_file_of(found, path))
        graph = found.whole.graph
        seen = tuple(chained(kernels, graph, whole, temporary, samples, engine) for kernels in KERNEL_SETS)
        described.write_text(_in_lines(_manifest(found, path, paths)), "utf-8")
        yield SplitFiles(found, paths, manifest, seen)
    _remove(item for item in earlier if item not in (*paths, manifest))


def _part_path(path: Path, number: int, on: str) -> Path:
    return path.with_name(f"{path.stem}.{number}-{on}.tflite")


def _manifest_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.split.json")


def earlier_split(path: Path) -> list[Path]:
    """The manifest of an earlier split under the names that `path` gives, and the parts that it lists.

    Only files with names of parts count; empty if there is no manifest, or none of ours.
    """
    manifest = _manifest_path(path)
    try:
        written = json.loads(manifest.read_text("utf-8"))
        listed = {part["file"] for part in written["parts"]}
        named = [_part_path(path, number, on) for number in (1, 2, 3) for on in (CPU, written["target"])]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [manifest, *(part for part in named if part.name in listed)]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


@contextmanager
def _file_of(found: Split, path: Path) -> Iterator[Path]:
    """The whole model's own file, or one that is removed again."""
    if Path(found.whole.source).is_file():
        yield Path(found.whole.source)
        return
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        tflite.write(found.whole, Path(folder) / path.name)
        yield Path(folder) / path.name


def _manifest(found: Split, path: Path, paths: Sequence[Path]) -> dict[str, Any]:
    graph = found.whole.graph
    to_device, from_device = found.crossing
    return {
        "model": path.name,
        "target": found.target,
        "inputs": _values(graph, graph.inputs),
        "outputs": _values(graph, graph.outputs),
        "parts": [_described(part, file) for part, file in zip(found.parts, paths, strict=True)],
        "bytes_to_device": to_device,
        "bytes_from_device": from_device,
    }


def _in_lines(manifest: Mapping[str, Any]) -> str:
    """JSON with a line for each entry, and for each of a list's."""
    entries = []
    for key, value in manifest.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list):
            text = "[\n" + ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in value) + "\n ]"
        entries.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _described(part: Part, file: Path) -> dict[str, Any]:
    graph = part.model.graph
    return {
        "file": file.name,
        "on": part.on,
        "operators": len(graph.ops),
        "macs": part.macs,
        "inputs": _values(graph, graph.inputs),
        "outputs": _values(graph, graph.outputs),
    }


def _values(graph: Graph, names: Sequence[str]) -> list[dict[str, Any]]:
    return [_value(graph, name) for name in names]


def _value(graph: Graph, name: str) -> dict[str, Any]:
    tensor = graph.tensors[name]
    found: dict[str, Any] = {"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype)}
    if tensor.quant is not None and not tensor.dtype.is_float:
        found |= {"scale": tensor.quant.scale, "zero_point": tensor.quant.zero_point}
    return found
