"""C source for microcontrollers, compiled and run here; the kernels of TensorFlow Lite Micro; the archive."""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import op_examples
from conftest import Cli
from small_nets import DEMO_DATA, classifier, dense, through_file, unknown_operator
from tersor.data.preprocess import Preprocess
from tersor.errors import FormatError, ModelError, OutputError, RecipeError, RuntimeFailure, UnsupportedError
from tersor.formats import tflite
from tersor.formats.c_array import c_name
from tersor.formats.c_array.operators import CALLS
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import quantize
from tersor.runtimes import tflite_micro
from tersor.stages.annotate import annotate
from tersor.stages.export import export_c
from tersor.stages.quantize import conversion

GCC = shutil.which("gcc")
GPP = shutil.which("g++")
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wunused-const-variable", "-Werror", "-pedantic"]

needs_gcc = pytest.mark.skipif(GCC is None, reason="gcc is not on this machine")
needs_micro = pytest.mark.skipif(not tflite_micro.is_installed(), reason="tflite-micro is not installed")

DEMO_KERAS = DEMO_DATA.with_name("fashion_mnist.keras")
SHAPE = (1, 5, 7, 3)
INT8 = QuantParams((float(np.float32(0.02)),), (-3,), DType.INT8)
UINT8 = QuantParams((float(np.float32(0.0173)),), (119,), DType.UINT8)
INT16 = QuantParams((float(np.float32(3e-4)),), (0,), DType.INT16)
FOLDED = QuantParams((float(np.float32(1 / 255)),), (-128,), DType.INT8)

WAYS = {
    "as they are": Preprocess(),
    "rescale": Preprocess(rescale=1 / 255),
    "mean_std": Preprocess(mean=(127.5,), std=(127.5,)),
    "channels": Preprocess(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),
    "mean": Preprocess(mean=(128.0,)),
    "std": Preprocess(std=(1.0, 2.0, 3.0)),
    "samplewise": Preprocess(samplewise=True),
    "rescaled_samplewise": Preprocess(rescale=1 / 255, samplewise=True),
}


def behind_a_door(params: QuantParams | None, shape: tuple[int, ...] = SHAPE) -> Model:
    """A model whose input has these numbers: it is dequantized, or goes to ABS where it is float."""
    builder = Builder("door")
    if params is None:
        return through_file(builder.model([builder.op("ABS", [builder.input("x", shape)], list(shape))]))
    model = builder.model([builder.op("ABS", [builder.input("real", shape)], list(shape))])
    graph = model.graph
    door = replace(graph.tensors["real"], name="x", dtype=params.dtype, quant=params)
    first = conversion("x", (params.dtype, params), "real", (DType.FLOAT32, None))
    return through_file(model.with_graph(graph.edit(prepend=[first], tensors=[door], inputs=["x"])))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if tflite-micro were not installed: what is written does not depend on it, but for the arena."""
    monkeypatch.setattr(tflite_micro, "is_installed", lambda: False)


def built(folder: Path, name: str, *more: str) -> ctypes.CDLL:
    """The C file of an export as a library that is loaded."""
    library = folder / f"{name}.so"
    command = [str(GCC), "-std=c99", *STRICT, *more, "-O2", "-shared", "-fPIC", f"{name}.c", "-o", str(library), "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def filled(library: ctypes.CDLL, function: str, raw: Array, dtype: Array) -> Array:
    """What a normalization function makes of raw values; what lies around the input must not be touched."""
    room = np.full(raw.size + 16, 77, dtype.dtype)
    inside = room[8:-8]
    call = getattr(library, function)
    call.restype = None
    call(raw.ctypes.data_as(ctypes.c_void_p), inside.ctypes.data_as(ctypes.c_void_p))
    assert (room[:8] == 77).all()
    assert (room[-8:] == 77).all()
    return inside.reshape(raw.shape)


def same_numbers(found: Array, wanted: Array) -> None:
    """Integers to the bit, floats within one unit in the last place."""
    assert found.dtype == wanted.dtype
    if wanted.dtype.kind == "f":
        np.testing.assert_array_max_ulp(found, wanted, maxulp=1)
    else:
        np.testing.assert_array_equal(found, wanted)


@needs_gcc
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "params", [INT8, UINT8, INT16, FOLDED, None], ids=["int8", "uint8", "int16", "folded", "float"]
)
def test_c_normalizes_as_numpy_does(tmp_path: Path, params: QuantParams | None, way: str) -> None:
    preprocess = WAYS[way]
    tflite.write(annotate(behind_a_door(params), preprocess), tmp_path / "net.tflite")
    export_c(tmp_path / "net.tflite", tmp_path)
    library = built(tmp_path, "net")
    like = np.zeros(1, np.float32 if params is None else params.dtype.numpy)
    random = np.random.default_rng(0)
    all_bytes = np.arange(SHAPE[1] * SHAPE[2] * SHAPE[3], dtype=np.uint8).reshape(SHAPE[1:])
    bytes_ = [random.integers(0, 256, SHAPE[1:]).astype(np.uint8) for _ in range(20)] + [all_bytes + 151, all_bytes]
    floats = [random.normal(100, 90, SHAPE[1:]).astype(np.float32) for _ in range(20)]
    has_bytes = hasattr(library, "net_normalize_bytes")
    assert has_bytes == (not preprocess.is_identity or params is None)
    cases = [("net_normalize_floats", raw) for raw in floats]
    if has_bytes:
        cases += [("net_normalize_bytes", raw) for raw in bytes_]
    for function, raw in cases:
        real = np.asarray(preprocess.apply(raw), np.float32)
        wanted = real if params is None else quantize(real, params)
        same_numbers(filled(library, function, raw, like), wanted)


@needs_gcc
@pytest.mark.usefixtures("unmeasured")
def test_folded_bytes_need_no_table(tmp_path: Path) -> None:
    tflite.write(annotate(behind_a_door(FOLDED), Preprocess(rescale=1 / 255)), tmp_path / "net.tflite")
    export_c(tmp_path / "net.tflite", tmp_path)
    code = (tmp_path / "net.c").read_text()
    assert "input[i] = (int8_t)((int)raw[i] + (-128));" in code
    assert "table" not in code


@needs_gcc
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("optimize", ["-O0", "-O3", "-ffp-contract=fast"])
def test_optimizers_change_nothing(tmp_path: Path, optimize: str) -> None:
    tflite.write(annotate(behind_a_door(INT8), WAYS["rescaled_samplewise"]), tmp_path / "net.tflite")
    export_c(tmp_path / "net.tflite", tmp_path)
    library = built(tmp_path, "net", optimize)
    raw = np.random.default_rng(5).integers(0, 256, SHAPE[1:]).astype(np.uint8)
    wanted = quantize(WAYS["rescaled_samplewise"].apply(raw), INT8)
    same_numbers(filled(library, "net_normalize_bytes", raw, np.zeros(1, np.int8)), wanted)


@needs_gcc
@pytest.mark.usefixtures("unmeasured")
def test_the_array_is_the_file_aligned_and_named(tmp_path: Path) -> None:
    labels = ("plain", 'a "quoted" \\ one', "Größe", "*/ what ??/ now", "tab\there")
    tflite.write(classifier(), tmp_path / "my net-2.1.tflite")
    tflite.write(annotate(classifier(), WAYS["rescale"], labels), tmp_path / "labelled.tflite")
    export_c(tmp_path / "my net-2.1.tflite", tmp_path)
    library = built(tmp_path, "my_net_2_1")
    content = (tmp_path / "my net-2.1.tflite").read_bytes()
    array = (ctypes.c_ubyte * len(content)).in_dll(library, "my_net_2_1")
    assert bytes(array) == content
    assert ctypes.addressof(array) % 16 == 0
    assert ctypes.c_uint.in_dll(library, "my_net_2_1_len").value == len(content)
    assert hashlib.sha256(content).hexdigest() in (tmp_path / "my_net_2_1.h").read_text()
    export_c(tmp_path / "labelled.tflite", tmp_path)
    library = built(tmp_path, "labelled")
    found = (ctypes.c_char_p * 5).in_dll(library, "labelled_labels")
    assert tuple((item or b"").decode() for item in found) == tuple(label.strip() for label in labels)
    size = ctypes.c_uint.in_dll(library, "labelled_len").value
    kept = tflite.read_bytes(bytes((ctypes.c_ubyte * size).in_dll(library, "labelled")))
    assert kept.attachments == ()
    assert [name for name, _ in kept.metadata] == ["SL_PARAMSv1"]
    assert kept.graphs == tflite.read(tmp_path / "labelled.tflite").graphs


STUB = """
#pragma once
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
namespace tflite {
template <unsigned int size>
struct MicroMutableOpResolver {
  int added = 0;
%s};
}  // namespace tflite
"""

PROGRAM = """
#include <cstdio>
#include "net.h"
#include "net_operators.h"
int main() {
  tflite::MicroMutableOpResolver<NET_OPERATORS> resolver;
  const TfLiteStatus status = net_add_operators(resolver);
  const int shape[] = NET_INPUT_0_SHAPE;
  std::printf("%d %d %d %u %d %g %d\\n", status, resolver.added, NET_OPERATORS, NET_BYTES, shape[3],
              static_cast<double>(NET_OUTPUT_0_SCALE), NET_OUTPUT_0_ZERO_POINT);
  return net[4] == 'T' ? 0 : 1;
}
"""


@pytest.mark.skipif(GPP is None, reason="g++ is not on this machine")
@pytest.mark.usefixtures("unmeasured")
def test_a_cpp_program_takes_all_of_it(cli: Cli, place: Path) -> None:
    """The resolver is a stand-in with the calls of the real one; the header is the one that a device compiles."""
    assert cli("quantize", "net.tflite", "--data", "x.npy", "-o", "net8.tflite").code == 0
    assert cli("export", "net8.tflite", "--to", "c", "--name", "net", "-o", "c").code == 0
    calls = "".join(
        f"  TfLiteStatus {call}() {{ ++added; return kTfLiteOk; }}\n" for call in sorted(set(CALLS.values()))
    )
    stub = place / "c/tensorflow/lite/micro/micro_mutable_op_resolver.h"
    stub.parent.mkdir(parents=True)
    stub.write_text(STUB % calls)
    (place / "c/main.cc").write_text(PROGRAM)
    command = [
        str(GPP),
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I.",
        "main.cc",
        "-x",
        "c++",
        "net.c",
        "-o",
        "main",
    ]
    done = subprocess.run(command, cwd=place / "c", capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    ran = subprocess.run([str(place / "c/main")], capture_output=True, text=True, check=True, timeout=20)
    graph = tflite.read(place / "net8.tflite").graph
    kinds = len({op.kind for op in graph.ops})
    assert ran.stdout.split()[:5] == ["0", str(kinds), str(kinds), str((place / "net8.tflite").stat().st_size), "3"]
    assert ran.stdout.split()[5:] == ["0.00390625", "-128"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("model", "model"),
        ("mobilenet_v1_0.25_224.int8", "mobilenet_v1_0_25_224_int8"),
        ("2nd try", "model_2nd_try"),
        ("switch", "switch_model"),
        ("class", "class_model"),
        ("größe", "gr_e"),
        ("模型", "model"),
        ("../../x", "x"),
    ],
)
def test_names_that_c_takes(text: str, name: str) -> None:
    assert c_name(text) == name


# TensorFlow Lite Micro


@needs_micro
def test_the_arena_is_the_least_that_does(cli: Cli, place: Path) -> None:
    assert cli("quantize", "net.tflite", "--data", "x.npy").code == 0
    answer = cli("export", "net.int8.tflite", "-o", "c", "--json")
    assert answer.code == 0, answer.err
    arena = json.loads(answer.out)["arena_bytes"]
    assert f"#define NET_INT8_ARENA_BYTES {arena}u" in (place / "c/net_int8.h").read_text()
    assert arena % 16 == 0
    content = (place / "net.int8.tflite").read_bytes()
    sample = [np.zeros((1, 6, 6, 3), np.int8)]
    assert tflite_micro._interpreter_in(content, sample, arena) is not None
    assert tflite_micro._interpreter_in(content, sample, arena - 16) is None
    noted = cli("export", "net.int8.tflite", "-o", "c").err
    assert f"arena: {arena} bytes, the least that do" in noted
    assert "answers to 4 random inputs" in noted


@needs_micro
def test_what_the_device_would_refuse_is_not_written(cli: Cli, place: Path) -> None:
    assert cli("quantize", "net.tflite", "--as", "float16").code == 0
    answer = cli("export", "net.float16.tflite", "-o", "c")
    assert answer.code == RuntimeFailure.exit_code
    assert answer.err.startswith("error: net.float16.tflite: TensorFlow Lite Micro refuses the model: ")
    assert "Node DEQUANTIZE (number 0) failed to prepare" in answer.err
    assert answer.err.endswith("; nothing was written; what microcontrollers run is made with --as int8 or int16x8\n")
    assert not (place / "c").exists()


@pytest.mark.usefixtures("unmeasured")
def test_without_the_interpreter_no_figure_is_given(cli: Cli, place: Path) -> None:
    answer = cli("export", "net.tflite", "-o", "c", "--json")
    assert json.loads(answer.out)["arena_bytes"] is None
    header = (place / "c/net.h").read_text()
    assert "ARENA_BYTES" not in header
    assert "Tensor arena: Not measured, and not run: pip install 'tersor[micro]'" in header


ASK = """
import sys
from pathlib import Path
from tflite_micro.python.tflite_micro import runtime

for path in sorted(Path(sys.argv[1]).glob("*.tflite")):
    sys.stderr.write(f"kind {path.stem}\\n")
    sys.stderr.flush()
    try:
        runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=1 << 20)
    except (RuntimeError, ValueError):
        pass
"""


@needs_micro
def test_the_list_of_operators_is_that_of_the_interpreter(tmp_path: Path) -> None:
    """The interpreter knows each operator that the list has, and says of each other one that it does not."""
    for kind, variants in op_examples.EXAMPLES.items():
        tflite.write(op_examples.make(kind, next(iter(variants))).model, tmp_path / f"{kind}.tflite")
    command = [sys.executable, "-c", ASK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]
    said = {text.split()[0]: text for text in done.stderr.split("kind ")[1:]}
    assert set(said) == set(op_examples.EXAMPLES)
    unknown = {kind for kind, text in said.items() if f"Didn't find op for builtin opcode '{kind}'" in text}
    assert unknown == set(op_examples.EXAMPLES) - set(CALLS)
    assert unknown


# refusals


def test_an_operator_without_a_kernel_is_named(cli: Cli, place: Path) -> None:
    builder = Builder("exotic")
    y = builder.op(
        "ATAN2",
        [dense(builder, builder.input("x", [1, 4]), 3), builder.constant("c", np.ones((1, 3), np.float32))],
        [1, 3],
    )
    tflite.write(through_file(builder.model([y])), place / "exotic.tflite")
    answer = cli("export", "exotic.tflite", "-o", "c")
    assert answer.code == UnsupportedError.exit_code
    assert answer.err == "error: exotic.tflite: TensorFlow Lite Micro has no kernel for ATAN2\n"
    assert not (place / "c").exists()


@pytest.mark.usefixtures("unmeasured")
def test_a_custom_operator_is_left_to_the_user(cli: Cli, place: Path) -> None:
    model = unknown_operator()
    own = replace(model.graph.ops[-1], kind="CUSTOM", custom_code="My-Op", options=None)
    tflite.write(model.with_graph(model.graph.edit(replace_ops={own.name: (own,)})), place / "own.tflite")
    answer = cli("export", "own.tflite", "-o", "c")
    assert answer.code == 0
    assert "warning: the kernel of the custom operator 'My-Op' is yours to add" in answer.err
    text = (place / "c/own_operators.h").read_text()
    assert "TFLMRegistration* Register_My_Op();" in text
    assert 'resolver.AddCustom("My-Op", Register_My_Op())' in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["net.tflite", "--to", "zip"], RecipeError.exit_code, "--to 'zip': there are c, archive"),
        (
            ["net.tflite", "--name", "2x"],
            RecipeError.exit_code,
            "--name '2x' is no C identifier; 'model_2x' would be one",
        ),
        (["net.tflite", "--to", "archive", "--name", "x"], RecipeError.exit_code, "--name is for --to c"),
        (["net.tflite", "--attach", "x.npy"], RecipeError.exit_code, "--attach is for --to archive"),
        (["nowhere.tflite"], FormatError.exit_code, "nowhere.tflite: cannot be read: No such file"),
        (["x.npy"], FormatError.exit_code, "x.npy: not a .tflite model"),
        ([str(DEMO_KERAS)], UnsupportedError.exit_code, "'tersor quantize' makes one of it"),
        ([str(DEMO_KERAS), "--to", "archive"], UnsupportedError.exit_code, "'tersor quantize' makes one of it"),
        (["net.tflite", "-o", "x.npy"], OutputError.exit_code, "x.npy is a file, not a folder"),
        (["net.tflite", "--to", "archive", "-o", "net.tflite"], OutputError.exit_code, "would replace the model"),
        (["net.tflite", "--to", "archive", "--attach", "no.md"], RecipeError.exit_code, "no.md: cannot be read"),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(
    cli: Cli, place: Path, arguments: list[str], code: int, message: str
) -> None:
    answer = cli("export", *arguments)
    assert answer.code == code
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1
    assert {path.name for path in place.iterdir()} == {"net.tflite", "x.npy"}


@pytest.mark.usefixtures("unmeasured")
def test_a_mean_of_other_channels_is_refused(tmp_path: Path) -> None:
    model = annotate(behind_a_door(INT8, (1, 4, 4, 1)), WAYS["channels"])
    tflite.write(model, tmp_path / "net.tflite")
    with pytest.raises(ModelError, match="state a mean of 3 channels, input 'x' has 1"):
        export_c(tmp_path / "net.tflite", tmp_path / "c")


# the archive


def test_the_archive_holds_what_lies_beside_the_model(cli: Cli, place: Path) -> None:
    tflite.write(annotate(classifier(), WAYS["mean_std"], tuple("abcde")), place / "net.tflite")
    (place / "net.recipe.toml").write_text("own")
    (place / "recipe.toml").write_text("of the folder")
    (place / "report.html").write_text("<p>")
    (place / "net.debug.json").write_text("{}")
    (place / "notes.md").write_text("notes")
    answer = cli("export", "net.tflite", "--to", "archive", "--attach", "notes.md")
    assert answer.code == 0, answer.err
    with zipfile.ZipFile(place / "net.zip") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert list(contents) == [
        "debug.json", "labels.txt", "model.tflite", "notes.md", "parameters.json", "recipe.toml", "report.html",
    ]  # fmt: skip
    assert contents["recipe.toml"] == b"own"
    assert contents["model.tflite"] == (place / "net.tflite").read_bytes()
    assert contents["labels.txt"] == b"a\nb\nc\nd\ne\n"
    parameters = json.loads(contents["parameters.json"])
    assert parameters["normalization"] == {"rescale": None, "mean": [127.5], "std": [127.5], "samplewise": False}
    assert parameters["inputs"] == [
        {"name": "x", "dtype": "float32", "shape": [1, 6, 6, 3], "scale": None, "zero_point": None}
    ]


def test_the_archive_leaves_out_the_recipe_of_another_pick(cli: Cli, place: Path) -> None:
    """As beside the candidates of `tersor optimize` that are not its pick."""
    (place / "recipe.toml").write_text("of the pick")
    for pick, is_in_it in ((b"another", False), ((place / "net.tflite").read_bytes(), True)):
        (place / "pick.tflite").write_bytes(pick)
        answer = cli("export", "net.tflite", "--to", "archive")
        assert answer.code == 0, answer.err
        with zipfile.ZipFile(place / "net.zip") as archive:
            assert ("recipe.toml" in archive.namelist()) is is_in_it
        assert ("recipe.toml makes pick.tflite, not this file: left out" in answer.err) is not is_in_it


def test_equal_content_gives_equal_archives(cli: Cli, place: Path) -> None:
    for name in ("a.zip", "b.zip"):
        assert cli("export", "net.tflite", "--to", "archive", "-o", name).code == 0
        (place / "net.tflite").touch()
    assert (place / "a.zip").read_bytes() == (place / "b.zip").read_bytes()


def test_a_name_that_is_taken_is_refused(cli: Cli, place: Path) -> None:
    (place / "model.tflite").write_text("another")
    answer = cli("export", "net.tflite", "--to", "archive", "--attach", "model.tflite")
    assert answer.code == RecipeError.exit_code
    assert "the archive already has a model.tflite; give the file another name" in answer.err


@needs_gcc
@needs_micro
@pytest.mark.slow
def test_the_demo_from_raw_bytes_to_the_device(cli: Cli, place: Path) -> None:
    """Raw pixels through the C function into the microcontroller's kernels: the answers of `tersor run`."""
    made = cli(
        "quantize", DEMO_DATA.with_name("fashion_mnist.tflite"), "--data", DEMO_DATA, "--rescale", "1/255",
        "-o", "demo.tflite",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert cli("export", "demo.tflite", "-o", ".").code == 0
    library = built(place, "demo")
    with np.load(DEMO_DATA) as data:
        raw = data["x"][:32]
    inputs = [filled(library, "demo_normalize_bytes", image, np.zeros(1, np.int8))[np.newaxis] for image in raw]
    seen = tflite_micro.measure((place / "demo.tflite").read_bytes(), [[item] for item in inputs])
    own = json.loads(cli("run", "demo.tflite", DEMO_DATA, "--json", "--kernels", "builtin").out)[:32]
    scores = np.array([next(iter(answer.values()))[0] for answer in own])
    device = np.array([outputs[0][0] for outputs in seen.outputs])
    assert np.mean(device.argmax(-1) == scores.argmax(-1)) >= 31 / 32
    # kernel sets differ by up to two steps of the logits, 0.05 each, which a softmax makes 12 / 256 of
    np.testing.assert_allclose((device.astype(float) + 128) / 256, scores, atol=16 / 256)
