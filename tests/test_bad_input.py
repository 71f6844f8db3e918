"""Bad input: one clear line, the documented exit code, and nothing written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from conftest import Answer, Cli
from small_nets import classifier, images, shared_file, through_file, unknown_operator
from tersor.errors import DataError, FormatError, OutputError, PlanError, RecipeError, TersorError, UnsupportedError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Tensor


def listing(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in found if "__pycache__" not in path.parts}  # which Python writes for modules


Refused = Callable[..., str]


@pytest.fixture
def refused(cli: Cli, place: Path) -> Refused:
    """Calls the command line, checks that it refuses as it should, and returns its message."""

    def call(error: type[TersorError], *arguments: str | Path) -> str:
        before = listing(place)
        answer = cli(*arguments)
        check_refusal(answer, error.exit_code)
        assert listing(place) == before
        return answer.err

    return call


def check_refusal(answer: Answer, code: int) -> None:
    assert answer.code == code, answer.err
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err + answer.out
    assert answer.err.endswith("\n")
    assert "\n" not in answer.err[:-1]
    assert answer.out == ""


def quantize_with(data: str, *more: str) -> tuple[str, ...]:
    return ("quantize", "net.tflite", "--data", data, "--output", "out/net.tflite", *more)


# The model


def _write_text(path: Path) -> None:
    path.write_text("this is not a model\n")


def _write_zip(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(100))


def _write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)


def _truncate(path: Path) -> None:
    content = tflite.write_bytes(classifier())
    path.write_bytes(content[: len(content) // 2])


def _corrupt(path: Path) -> None:
    content = bytearray(tflite.write_bytes(classifier()))
    content[:4] = b"\xf0\xff\xff\x7f"
    path.write_bytes(content)


NOT_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (_write_text, "TFL3 is missing"),
    "zip": (_write_zip, "zip archive"),
    "hdf5": (_write_hdf5, "HDF5"),
    "empty": (Path.touch, "the file is empty"),
    "folder": (Path.mkdir, "is a folder"),
    "missing": (lambda path: None, "no such file"),
    "truncated": (_truncate, "truncated"),
    "corrupted": (_corrupt, "corrupted"),
}


@pytest.mark.parametrize("command", ["quantize", "evaluate", "inspect", "run"])
@pytest.mark.parametrize("what", NOT_MODELS)
def test_not_a_model(what: str, command: str, refused: Refused, place: Path) -> None:
    make, hint = NOT_MODELS[what]
    make(place / "odd.tflite")
    more = {"run": ["x.npy"], "inspect": []}.get(command, ["--data", "x.npy"])
    message = refused(FormatError, command, "odd.tflite", *more)
    assert "odd.tflite: " in message
    assert hint in message


def test_model_of_another_format_is_named(refused: Refused, place: Path) -> None:
    (place / "net.onnx").write_bytes(b"anything")
    message = refused(FormatError, "quantize", "net.onnx", "--data", "x.npy")
    assert "ONNX files are not read; tersor reads .tflite, .keras and .h5 files, SavedModels" in message


def test_compiled_for_the_edge_tpu(refused: Refused) -> None:
    path = shared_file("edge_tpu_pairs/conv_firstTest_edgetpu.tflite")
    message = refused(UnsupportedError, "quantize", path, "--data", "x.npy", "--output", "out.tflite")
    assert "already compiled for the Edge TPU" in message
    assert "float model it was made from" in message


def test_already_quantized(refused: Refused, cli: Cli) -> None:
    assert cli(*quantize_with("x.npy")).code == 0
    message = refused(UnsupportedError, "quantize", "out/net.tflite", "--data", "x.npy")
    assert "already quantized" in message


def _custom_model() -> Model:
    tensors = {name: Tensor(name, (1, 6, 6, 3), classifier().graph.tensors["x"].dtype) for name in ("x", "y")}
    op = Op("y", "CUSTOM", ("x",), ("y",), custom_code="MyTransform", custom_options=b"")
    return through_file(Model((Graph("g", tensors, (op,), ("x",), ("y",)),)))


def test_custom_operator_is_refused_by_name(cli: Cli, place: Path) -> None:
    """The runtime does not know it either, so that calibration cannot run."""
    tflite.write(_custom_model(), place / "odd.tflite")
    answer = cli("quantize", "odd.tflite", "--data", "x.npy", "--output", "out.tflite")
    check_refusal(answer, 7)
    assert "MyTransform" in answer.err
    assert not (place / "out.tflite").exists()


def test_operator_without_integer_kernel_is_refused_by_name_with_the_way_out(cli: Cli, place: Path) -> None:
    tflite.write(unknown_operator(), place / "wave.tflite")
    np.save(place / "angles.npy", np.random.default_rng(0).normal(size=(12, 4)))
    before = listing(place)
    answer = cli("quantize", "wave.tflite", "--data", "angles.npy", "--output", "out.tflite")
    assert answer.code == PlanError.exit_code
    assert "COS: LiteRT has no integer kernel for it: 'wave'" in answer.err
    assert "--allow-float" in answer.err
    assert listing(place) == before
    assert cli("quantize", "wave.tflite", "--data", "angles.npy", "--allow-float", "--output", "out.tflite").code == 0


def test_model_without_inputs(refused: Refused, place: Path) -> None:
    builder = Builder()
    y = builder.op("ADD", [builder.constant("a", np.ones(3, np.float32)), builder.constant("b", 1.0)], [3])
    tflite.write(builder.model([y]), place / "odd.tflite")
    assert "no inputs" in refused(DataError, "quantize", "odd.tflite", "--data", "x.npy")


def test_model_that_takes_strings(refused: Refused, place: Path) -> None:
    builder = Builder()
    x, index = builder.input("x", [2], DType.STRING), builder.input("index", [1], DType.INT32)
    y = builder.op("GATHER", [x, index], [1], dtype=DType.STRING)
    tflite.write(builder.model([y]), place / "words.tflite")
    assert "input 'x' takes strings" in refused(DataError, "quantize", "words.tflite", "--as", "float16")


# The data


def _nan() -> object:
    values = images(12)
    values[3, 2, 1, 0] = np.nan
    return values


def _infinite() -> object:
    values = images(12)
    values[5, 0, 0, 0] = -np.inf
    return values


ARRAYS: dict[str, tuple[Callable[[], object], str]] = {
    "empty": (lambda: np.zeros((0, 6, 6, 3), np.float32), "x.npy: no samples"),
    "nan": (_nan, "x.npy[3]): input 'x' contains NaN"),
    "infinity": (_infinite, "x.npy[5]): input 'x' contains infinity"),
    "wrong_size": (lambda: np.ones((9, 5, 6, 3)), "has shape 5x6x3, the model expects 1x6x6x3"),
    "wrong_rank": (lambda: images(9)[..., 0], "has shape 6x6, the model expects 1x6x6x3"),
    "two_batches": (lambda: np.ones((9, 2, 6, 6, 3)), "has shape 2x6x6x3"),
    "strings": (lambda: np.array(["a", "b"]), "type <U1, expected float32"),
    "complex": (lambda: images(9).astype(np.complex64), "type complex64, expected float32"),
    "dates": (lambda: np.zeros((9, 6, 6, 3), "M8[s]"), "type datetime64[s], expected float32"),
    "objects": (lambda: np.array([{}, 1], dtype=object), "not a readable NumPy file"),
    "scalar": (lambda: np.float32(1), "a single value"),
    "too_large": (lambda: images(9).astype(np.float64) * 1e300, "does not fit in float32"),
    "constant": (lambda: np.full((20, 6, 6, 3), 0.5), "all 20 calibration samples are constant (input 'x' is 0.5"),
    "zeros": (lambda: np.zeros((20, 6, 6, 3)), "constant (input 'x' is 0 everywhere)"),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_array_that_does_not_fit(what: str, refused: Refused, place: Path) -> None:
    make, hint = ARRAYS[what]
    np.save(place / "x.npy", np.asarray(make()))
    assert hint in refused(DataError, *quantize_with("x.npy"))


ACCEPTED: dict[str, Callable[[], object]] = {
    "without_batch": lambda: images(24),
    "with_batch": lambda: images(24)[:, np.newaxis],
    "float64": lambda: images(24).astype(np.float64),
    "float16": lambda: images(24).astype(np.float16),
    "uint8": lambda: (images(24) * 100 + 100).astype(np.uint8),
    "int64": lambda: (images(24) * 100).astype(np.int64),
    "bool": lambda: images(24) > 0,
    "big_endian": lambda: images(24).astype(">f4"),
    "fortran_order": lambda: np.asfortranarray(images(24)),
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_array_that_is_unambiguous_is_accepted(what: str, cli: Cli, place: Path) -> None:
    np.save(place / "x.npy", np.asarray(ACCEPTED[what]()))
    answer = cli(*quantize_with("x.npy"))
    assert answer.code == 0, answer.err
    assert (place / "out" / "net.tflite").exists()


def _write_npz(path: Path, x: object = None, y: object = None, name: str = "x") -> None:
    arrays: dict[str, Any] = {key: np.asarray(values) for key, values in ((name, x), ("y", y)) if values is not None}
    np.savez(path, allow_pickle=False, **arrays)


LABELS: dict[str, tuple[object, str]] = {
    "words": (["cat"] * 24, "label 'cat' is no class index"),
    "fractions": (np.full(24, 0.5), "label 0.5 is no class index"),
    "nan": (np.full(24, np.nan), "label nan is no class index"),
    "out_of_range": (np.arange(24), "is not one of the output's 5 classes"),
    "vectors": (np.zeros((24, 3)), "is no class index, nor one value for each of 5 classes"),
    "other_length": (np.arange(23), "differ in length: x 24, y 23"),
    "scalar": (np.int64(3), "'y' is a single value"),
}


@pytest.mark.parametrize("what", LABELS)
def test_labels_that_do_not_fit(what: str, refused: Refused, place: Path) -> None:
    labels, hint = LABELS[what]
    _write_npz(place / "xy.npz", x=images(24), y=labels)
    assert hint in refused(DataError, *quantize_with("xy.npz", "--samples", "4"))


def test_no_labels_to_evaluate_on(refused: Refused) -> None:
    assert "needs labels; x.npy[0] has none" in refused(DataError, "evaluate", "net.tflite", "--data", "x.npy")


def test_inputs_under_other_names(refused: Refused, place: Path) -> None:
    _write_npz(place / "named.npz", images(4), name="picture")
    assert "'picture'" in refused(DataError, *quantize_with("named.npz"))


def test_only_labels(refused: Refused, place: Path) -> None:
    _write_npz(place / "y.npz", y=np.arange(3))
    assert "array named x" in refused(DataError, *quantize_with("y.npz"))


@pytest.mark.parametrize("name", ["x.npy", "xy.npz"])
def test_damaged_numpy_file(name: str, refused: Refused, place: Path) -> None:
    _write_npz(place / "xy.npz", x=images(24), y=np.zeros(24))
    content = (place / name).read_bytes()
    (place / name).write_bytes(content[: len(content) // 2])
    assert f"{name}: not a readable NumPy file" in refused(DataError, *quantize_with(name))


def test_empty_folder(refused: Refused, place: Path) -> None:
    (place / "photos").mkdir()
    (place / "photos" / "readme.txt").write_text("none")
    assert "photos: no images in this folder" in refused(DataError, *quantize_with("photos"))


def test_damaged_image_is_named(cli: Cli, place: Path) -> None:
    (place / "photos").mkdir()
    for number in range(3):
        Image.fromarray((images(3)[number] * 100 + 100).astype(np.uint8)).save(place / "photos" / f"{number}.png")
    (place / "photos" / "1.png").write_bytes(b"not an image")
    answer = cli(*quantize_with("photos"))
    assert answer.code == DataError.exit_code
    assert f"error: {Path('photos') / '1.png'}: not a readable image" in answer.err
    assert not (place / "out").exists()


@pytest.mark.parametrize("data", ["nowhere", "nowhere.npy", "nowhere.csv", "nowhere/x.npz"])
def test_data_that_is_not_there(data: str, refused: Refused) -> None:
    assert f"{data}: no such file or folder" in refused(DataError, *quantize_with(data))


def test_file_that_is_not_data(refused: Refused, place: Path) -> None:
    (place / "notes.txt").write_text("hello")
    assert "notes.txt: not data: give a folder" in refused(DataError, *quantize_with("notes.txt"))


def test_quantizing_activations_without_data(refused: Refused) -> None:
    assert "--data" in refused(PlanError, "quantize", "net.tflite")


MODULE = """
def missing_data():
    raise ValueError("the camera is off")

def breaks_off():
    import numpy
    yield numpy.zeros((6, 6, 3))
    raise KeyError("second")

def nothing():
    return None

def empty():
    return []

number = 3
"""

FUNCTIONS = {
    "missing_data": "ValueError: the camera is off",
    "breaks_off": "fails at item 1: KeyError: 'second'",
    "nothing": "TypeError",
    "empty": "no samples",
    "number": "not a function",
    "absent": "absent",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_that_gives_no_data(name: str, refused: Refused, place: Path) -> None:
    (place / "feed_of_bad_input.py").write_text(MODULE)
    assert FUNCTIONS[name] in refused(DataError, *quantize_with(f"feed_of_bad_input:{name}"))


def test_function_without_samples_for_a_flavour_that_needs_none(refused: Refused, place: Path) -> None:
    (place / "feed_of_bad_input.py").write_text(MODULE)
    assert "no samples" in refused(DataError, *quantize_with("feed_of_bad_input:empty", "--as", "float16"))


def test_module_that_cannot_be_imported(refused: Refused, place: Path) -> None:
    (place / "broken_feed.py").write_text("def f(:\n")
    assert "SyntaxError" in refused(DataError, *quantize_with("broken_feed:f"))
    assert "No module named 'absent_feed'" in refused(DataError, *quantize_with("absent_feed:f"))


def test_few_samples_are_warned_of(cli: Cli, place: Path) -> None:
    np.save(place / "x.npy", images(3))
    answer = cli(*quantize_with("x.npy"))
    assert answer.code == 0
    assert "warning: only 3 calibration samples" in answer.err


# Options and places

MISUSES = {
    "no arguments": (("quantize",), "Missing argument 'MODEL'"),
    "no command": (("polish",), "No such command 'polish'"),
    "option": (quantize_with("x.npy", "--fast"), "No such option: --fast"),
    "number": (quantize_with("x.npy", "--samples", "many"), "'--samples'"),
    "zero": (quantize_with("x.npy", "--samples", "0"), "'--samples'"),
    "flavour": (quantize_with("x.npy", "--as", "int7"), "unknown flavour 'int7': there are dynamic, float16"),
    "no flavour": (quantize_with("x.npy", "--as", ","), "no flavour"),
    "recipe": (quantize_with("x.npy", "--as", "mine.toml"), "mine.toml: cannot be read"),
    "door": (quantize_with("x.npy", "--io", "int32"), "interface is int32: it must be one of float32, int8"),
    "door type": (quantize_with("x.npy", "--io", "byte"), "--io: unknown type 'byte'"),
    "observer": (
        quantize_with("x.npy", "--observer", "psychic"),
        "unknown observer 'psychic': there are auto, entropy, min_max",
    ),
    "metric": (quantize_with("x.npy", "--metric", "beauty"), "unknown metric 'beauty': there are top1"),
    "pattern": (quantize_with("x.npy", "--keep-float", "("), "not a regular expression"),
    "mean": (quantize_with("x.npy", "--mean", "a"), "--mean 'a' is not a number"),
    "division": (quantize_with("x.npy", "--rescale", "1/0"), "--rescale '1/0' is not a number"),
    "nan": (quantize_with("x.npy", "--std", "nan"), "--std are finite numbers"),
    "std": (quantize_with("x.npy", "--std", "0"), "--std is 0"),
    "both": (quantize_with("x.npy", "--std", "2", "--rescale", "2"), "either --rescale or --mean"),
    "kernels": (("run", "net.tflite", "x.npy", "--kernels", "cuda"), "unknown kernels 'cuda': there are xnnpack"),
}


@pytest.mark.parametrize("what", MISUSES)
def test_misuse(what: str, refused: Refused) -> None:
    arguments, hint = MISUSES[what]
    assert hint in refused(RecipeError, *arguments)


def test_mean_for_other_channels(refused: Refused) -> None:
    message = refused(DataError, *quantize_with("x.npy", "--mean", "1,2"))
    assert "--mean has 2 values, the data has 3 channels" in message


def _quantize_to(*output: str) -> tuple[str, ...]:
    return ("quantize", "net.tflite", "--data", "x.npy", "--output", *output)


def test_file_in_place_of_a_folder(refused: Refused) -> None:
    message = refused(OutputError, *_quantize_to("x.npy/net.int8.tflite"))
    assert "x.npy is a file, not a folder" in message


def test_output_that_is_the_model_itself(refused: Refused, place: Path) -> None:
    content = (place / "net.tflite").read_bytes()
    assert "the float model itself" in refused(OutputError, *_quantize_to("net.tflite"))
    assert (place / "net.tflite").read_bytes() == content


def test_two_results_in_one_file(refused: Refused, place: Path) -> None:
    (place / "int8.toml").write_text('activations = "int8"\nweights = "int8"\ncompute = "integer"\n')
    message = refused(OutputError, *_quantize_to("out", "--as", "int8", "--as", "int8.toml"))
    assert "would replace the result of int8" in message


def test_folder_as_output_takes_a_file_named_by_the_flavour(cli: Cli, place: Path) -> None:
    (place / "made.tflite").mkdir()
    assert cli(*_quantize_to("made.tflite")).code == 0
    assert listing(place / "made.tflite") == {"net.int8.tflite"}


def test_folder_in_place_of_the_file(refused: Refused, place: Path) -> None:
    (place / "out" / "net.int8.tflite").mkdir(parents=True)
    assert "is a folder" in refused(OutputError, *_quantize_to("out"))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_read_only_folder(refused: Refused, place: Path) -> None:
    (place / "locked").mkdir(mode=0o555)
    assert "Permission denied" in refused(OutputError, *_quantize_to("locked/net.tflite"))


def test_place_that_cannot_be_written(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> object:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tersor.stages.save.tempfile.mkstemp", refuse)
    assert "out.tflite: cannot be written: Read-only file system" in refused(OutputError, *_quantize_to("out.tflite"))


def test_existing_result_stays_when_another_flavour_fails(cli: Cli, place: Path) -> None:
    tflite.write(unknown_operator(), place / "wave.tflite")
    np.save(place / "angles.npy", np.random.default_rng(0).normal(size=(12, 4)))
    (place / "wave.float16.tflite").write_bytes(b"precious")
    assert cli("quantize", "wave.tflite", "--data", "angles.npy", "--as", "float16,int8").code == PlanError.exit_code
    assert (place / "wave.float16.tflite").read_bytes() == b"precious"


def test_no_memory_is_an_error_without_traceback(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: object, **__: object) -> None:
        raise MemoryError("cannot allocate 9 TiB")

    monkeypatch.setattr("tersor.stages.load.load", exhaust)
    answer = cli(*quantize_with("x.npy"))
    check_refusal(answer, 1)
    assert "out of memory" in answer.err


# Ctrl-C

SLOW_FEED = """
import pathlib
import time

import numpy

def samples():
    for number in range(1000):
        pathlib.Path("drawn").write_text(str(number))
        yield numpy.random.default_rng(number).normal(size=(6, 6, 3))
        time.sleep(0.02)
"""


@pytest.mark.parametrize("whole_group", [True, False], ids=["terminal", "kill"])
def test_interrupt_while_calibrating_leaves_nothing_behind(whole_group: bool, place: Path) -> None:
    (place / "slow_feed.py").write_text(SLOW_FEED)
    scratch = place / "scratch"
    scratch.mkdir()
    before = listing(place) | {"drawn"}
    listen = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in a shell's background
    )
    start = f"{listen}; from tersor.cli.main import main; main()"
    command = [sys.executable, "-c", start, *quantize_with("slow_feed:samples")]
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [*command, "--samples", "1000"],
        cwd=place,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        children = _children_once_drawing(process.pid, place / "drawn")
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "interrupted: nothing was written\n")
    assert listing(place) == before
    assert children
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def _children_once_drawing(pid: int, drawn: Path) -> list[int]:
    """The child processes of a process that has begun to draw samples."""
    deadline = time.monotonic() + 60
    while not drawn.exists() or drawn.read_text() in ("", "0", "1"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
