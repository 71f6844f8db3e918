"""The parent's side of a conversion: a real child process, with a program that stands for TensorFlow in it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

from conftest import Cli, Run
from small_nets import classifier, images
from tersor.errors import FormatError, ModelError, RecipeError, RuntimeFailure, TersorWarning, UnsupportedError
from tersor.formats import tflite
from tersor.formats.saved_model import keras_config
from tersor.formats.saved_model.conversion import Conversion
from tersor.formats.saved_model.read import read
from tersor.formats.saved_model.screen import refuse_graph, refuse_meta_graph
from tersor.formats.saved_model.shapes import closed
from tersor.ir.build import Builder
from tersor.ir.graph import Model, Signature
from tersor.stages.load import load

FAKE = Path(__file__).with_name("fake_tensorflow.py")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for SavedModels whose names say what the fake TensorFlow does; nothing temporary is left behind."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    python.chmod(0o755)
    write(signed(), tmp_path / "result.tflite")
    monkeypatch.setenv("TERSOR_TENSORFLOW_PYTHON", str(python))
    monkeypatch.setenv("FAKE_MODEL", str(tmp_path / "result.tflite"))
    monkeypatch.setenv("FAKE_PID", str(tmp_path / "pid"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield tmp_path
    assert not list(temporary.iterdir())


def write(model: Model, path: Path) -> None:
    tflite.write(model, path)


def signed() -> Model:
    """The classifier with numbered names in its signature, as the child makes them."""
    names = (("input_0", "x"),), (("output_0", "scores"),)
    return replace(classifier(), signatures=(Signature("serving_default", *names),))


def saved_model(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"anything")
    return path


def test_result_is_read_named_and_deleted(fake: Path, run: Run) -> None:
    path = saved_model(fake, "net")
    model = load(path)
    assert model.source == str(path)
    assert model.description == "converted by a fake"
    assert model.graph.inputs == ("image",)
    assert model.graph.outputs == ("scores",)
    assert model.signatures == (Signature("classify", (("image", "image"),), (("scores", "scores"),)),)
    np.testing.assert_array_equal(run(model, [images(1)])[0], run(classifier(), [images(1)])[0])


@pytest.mark.parametrize(
    ("case", "kind", "message"),
    [
        ("aborts", RuntimeFailure, r"TensorFlow crashed \(SIGABRT\) while it converted the model: F0000 check failed"),
        ("killed", RuntimeFailure, r"TensorFlow crashed \(SIGKILL, which is what the system does when memory runs out"),
        ("silent", RuntimeFailure, r"TensorFlow crashed \(exit status 3\) while it converted the model"),
        ("garbled", RuntimeFailure, r"TensorFlow crashed \(exit status 0\)"),
        ("floods", RecipeError, "no signature 'a'"),
        ("refuses", UnsupportedError, "input 'x' leaves sizes open"),
        ("strange", UnsupportedError, "neither class"),
        ("missing", UnsupportedError, "TensorFlow is not installed where TERSOR_TENSORFLOW_PYTHON points"),
        ("damaged", UnsupportedError, "TensorFlow made a file that cannot be read"),
    ],
)
def test_whatever_the_child_does_is_one_line(case: str, kind: type[Exception], message: str, fake: Path) -> None:
    path = saved_model(fake, case)
    with pytest.raises(kind, match=f"{case}: {message}") as raised:
        load(path)
    assert "\n" not in str(raised.value)
    assert "INFO" not in str(raised.value)


def test_child_that_hangs_is_stopped(fake: Path) -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeFailure, match=r"hangs: TensorFlow took more than 1.5 s to convert"):
        load(saved_model(fake, "hangs"), conversion=Conversion(time_limit=1.5))
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((fake / "pid").read_text()), 0)


def test_python_that_is_not_there(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERSOR_TENSORFLOW_PYTHON", str(fake / "nowhere"))
    with pytest.raises(RuntimeFailure, match=r"TERSOR_TENSORFLOW_PYTHON=.*nowhere: cannot be started"):
        load(saved_model(fake, "net"))


def test_child_needs_nothing_but_python(fake: Path) -> None:
    """Another environment has TensorFlow and need have none of tersor's packages; here it has nothing at all."""
    python = fake / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    with pytest.raises(UnsupportedError, match="TensorFlow is not installed where TERSOR_TENSORFLOW_PYTHON points"):
        load(saved_model(fake, "net"))


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_without_tensorflow_the_extra_is_named(cli: Cli, place: Path) -> None:
    """This is the real child."""
    saved_model(place, "net")
    for more in ((), ("--signature", "a"), ("--trust-code",)):
        answer = cli("inspect", "net", *more)
        assert answer.code == ModelError.exit_code
        assert (
            "error: net: this needs TensorFlow, which is not installed: pip install 'tersor[tensorflow]'" in answer.err
        )


def test_tensorflow_that_cannot_be_imported(fake: Path) -> None:
    (fake / "tensorflow.py").write_text("import libtensorflow_missing")
    python = fake / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{fake}" exec "{sys.executable}" -S "$@"\n')
    with pytest.raises(UnsupportedError, match=r"installed, but cannot be imported: ModuleNotFoundError: .*_missing"):
        load(saved_model(fake, "net"))


def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A module that stands for TensorFlow and takes its time is left when standard input ends."""
    (tmp_path / "tensorflow.py").write_text("import time; print('here', flush=True); time.sleep(600)")
    source = Path(__file__).parents[1] / "src"
    child = subprocess.Popen(
        [sys.executable, "-c", "from tersor.formats.saved_model.convert import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{source}"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b'{"folder": "."}\n')
    child.stdin.flush()
    assert child.stdout.readline() == b"here\n"
    child.stdin.close()
    assert child.wait(20) == 1
    child.stdout.close()


# Operators of TensorFlow's in the result


def flex_options(kind: str) -> bytes:
    """Of a TensorFlow operator in a LiteRT file: its name and its `NodeDef`, of which field 2 is the kind."""
    builder = flexbuffers.Builder()
    builder.VectorFromElements([kind, (b"\x12" + bytes([len(kind)]) + kind.encode()).decode()])
    return bytes(builder.Finish())


def with_custom(*codes: str) -> Model:
    builder = Builder()
    y = builder.input("x", [1, 4])
    for _ in codes:
        y = builder.op("CUSTOM", [y], [1, 4])
    model = builder.model([y])
    ops = tuple(
        replace(op, custom_code=code, custom_options=flex_options(code.removeprefix("Flex")), options=None)
        for op, code in zip(model.graph.ops, codes, strict=True)
    )
    names = (("input_0", "x"),), (("output_0", y),)
    graph = replace(model.graph, ops=ops)
    return replace(model, graphs=(graph,), signatures=(Signature("serving_default", *names),))


def test_tensorflow_ops_need_the_flag_and_tensorflow(fake: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_RESULT", "with_tensorflow_ops.tflite")
    write(with_custom("FlexCumprod", "FlexDet", "FlexCumprod"), fake / "result.tflite")
    path = saved_model(fake, "net")
    with pytest.raises(UnsupportedError, match=r"no operator for Cumprod x2, Det x1: .*--select-tf-ops.*Flex delegate"):
        load(path)
    with pytest.warns(TersorWarning, match="stay TensorFlow ops: Cumprod x2, Det x1"):
        load(path, conversion=Conversion(select_tf_ops=True))
    np.save(fake / "four.npy", np.ones((4, 4), np.float32))
    for command in (
        ("quantize", "--as", "float16"),
        ("run", fake / "four.npy"),
        ("evaluate", "--data", fake / "four.npy"),
    ):
        answer = cli(command[0], path, "--select-tf-ops", *command[1:])
        assert answer.code == ModelError.exit_code
        assert "warning: " in answer.err
        # the other half depends on whether the environment of the tests has TensorFlow
        assert "holds TensorFlow ops" in answer.err
        assert "TERSOR_TENSORFLOW_PYTHON" in answer.err


def test_operators_that_nobody_has(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_RESULT", "with_tensorflow_ops.tflite")
    write(with_custom("Erfc", "FlexDet"), fake / "result.tflite")
    with pytest.raises(UnsupportedError, match="neither LiteRT nor its Flex delegate has these operators: Erfc x1"):
        load(saved_model(fake, "net"), conversion=Conversion(select_tf_ops=True))


# Options, and what they are for


def test_options_for_tensorflow_are_refused_where_they_mean_nothing(cli: Cli, place: Path) -> None:
    for option in (("--signature", "a"), ("--select-tf-ops",), ("--trust-code",), ("--via", "tensorflow")):
        answer = cli("inspect", "net.tflite", *option)
        assert answer.code == RecipeError.exit_code
        assert f"net.tflite: {' '.join(option[:1])}" in answer.err
    assert "there is only tensorflow" in cli("inspect", "net.tflite", "--via", "jax").err


def test_folder_that_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"is a folder, but not a SavedModel \(no saved_model.pb\)"):
        load(tmp_path)


def test_names_of_results(fake: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder has no extension to drop, and may be the one we are in."""
    path = saved_model(fake, "net.v1")
    assert cli("quantize", path, "--as", "float16", "--output", fake / "out").code == 0
    monkeypatch.chdir(path)
    assert cli("quantize", ".", "--as", "dynamic", "--output", fake / "out").code == 0
    assert {item.name for item in (fake / "out").iterdir()} == {"net.v1.float16.tflite", "net.v1.dynamic.tflite"}


def test_shapes_are_closed() -> None:
    assert closed("x", (None, 4, 5), {}) == [1, 4, 5]
    assert closed("x", (None, 4, 5), {}, batch=3) == [3, 4, 5]
    assert closed("x", (2, None), {"x": (7,)}) == [2, 7]
    assert closed("x", (), {}) == []
    assert closed("x", None, {"": (4, 4)}) == [1, 4, 4]
    with pytest.raises(UnsupportedError, match="'x' leaves all sizes open"):
        closed("x", None, {})


# What is refused before TensorFlow is asked: graphs


def node(name: str, op: str, *inputs: str, calls: str = "", **attributes: bytes) -> Any:
    attr = {key: attribute(s=value) for key, value in attributes.items()}
    if calls:
        attr["f"] = attribute(func=calls)
    return SimpleNamespace(name=name, op=op, input=list(inputs), attr=attr)


def attribute(func: str = "", s: bytes = b"", argument: str = "") -> Any:
    attr = {"F": attribute(argument)} if argument else {}
    return SimpleNamespace(func=SimpleNamespace(name=func, attr=attr), list=SimpleNamespace(func=[]), s=s)


def graph_of(nodes: list[Any], functions: Mapping[str, list[Any]] | None = None) -> Any:
    library = [
        SimpleNamespace(signature=SimpleNamespace(name=name), node_def=body) for name, body in (functions or {}).items()
    ]
    return SimpleNamespace(node=nodes, library=SimpleNamespace(function=library))


STATEFUL = {"WriteFile", "SaveV2", "RestoreV2", "VarHandleOp", "StatefulPartitionedCall", "Send", "PyFunc", "NewThing"}


def definition(name: str) -> Any:
    return None if name.startswith("__inference") else SimpleNamespace(is_stateful=name in STATEFUL)


HARMLESS = (
    "MatMul",
    "VarHandleOp",
    "Print",
    "ReadVariableOp",
    "HashTableV2",
    "RandomUniform",
    "While",
    "TensorArrayV3",
)


def test_usual_operators_pass() -> None:
    refuse_graph(graph_of([node(op, op) for op in HARMLESS]), definition)
    refuse_graph(graph_of([node("p", "PrintV2", output_stream=b"stderr")]), definition)


@pytest.mark.parametrize(
    "op",
    [
        *("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc", "SaveV2", "RestoreV2"),
        *("TextLineDataset", "DebugIdentity", "ImmutableConst", "LoadAndRemapMatrix", "Send", "NewThing", "RpcCall"),
    ],
)
def test_operators_that_reach_out_are_refused_wherever_they_hide(op: str) -> None:
    inside = graph_of([node("x", "Placeholder")], {"__inference_f": [node("n", op)]})
    twice = graph_of([node("n", op), node("n", "NoOp")])
    named = graph_of([node("n", op)], {op: [node("m", "NoOp")]})
    for graph in (graph_of([node("n", op)]), inside, twice, named):
        with pytest.raises(UnsupportedError, match=rf"\({op} x1\), so converting it could run code.*--trust-code"):
            refuse_graph(graph, definition)


def test_printing_into_a_file_is_writing_one() -> None:
    with pytest.raises(UnsupportedError, match="PrintV2 x1"):
        refuse_graph(graph_of([node("p", "PrintV2", output_stream=b"file:///etc/motd")]), definition)


def meta_graph(
    signature_output: str = "y:0",
    initializer: str = "",
    listed: str = "",
    restore: str = "RestoreV2",
    argument: str = "",
) -> Any:
    """A SavedModel's graph with a saver of the usual form."""
    call = "StatefulPartitionedCall"
    graph = graph_of(
        [
            node("x", "Placeholder"),
            node("y", call, "x"),
            node("file", "Placeholder"),
            node("save", call, "file", calls="__inference_save"),
            node("restore", call, "file", calls="__inference_restore"),
        ],
        {
            "__inference_model": [node("m", "MatMul")],
            "__inference_save": [node("n", "ShardedFilename"), node("s", "SaveV2"), node("g", "MergeV2Checkpoints")],
            "__inference_restore": [node("r", restore)],
        },
    )
    graph.node[1].attr["f"] = attribute("__inference_model", argument=argument)
    outputs = {"y": SimpleNamespace(name=signature_output)}
    collection = SimpleNamespace(node_list=SimpleNamespace(value=[initializer] if initializer else []))
    function = SimpleNamespace(concrete_functions=[])
    item = SimpleNamespace(function=function, bare_concrete_function=SimpleNamespace(concrete_function_name=listed))
    return SimpleNamespace(
        graph_def=graph,
        saver_def=SimpleNamespace(save_tensor_name="save:0", restore_op_name="restore", filename_tensor_name="file:0"),
        signature_def={"serving_default": SimpleNamespace(outputs=outputs)},
        collection_def={"saved_model_main_op": collection},
        object_graph_def=SimpleNamespace(concrete_functions={}, nodes=[item]),
    )


def test_checkpoints_belong_to_the_saver_alone() -> None:
    refuse_meta_graph(meta_graph(), definition)
    for hostile in (
        meta_graph(signature_output="save:0"),
        meta_graph(initializer="save"),
        meta_graph(listed="__inference_save"),
        meta_graph(argument="__inference_save"),
        meta_graph(restore="SaveV2"),
    ):
        with pytest.raises(UnsupportedError, match="SaveV2 x1"):
            refuse_meta_graph(hostile, definition)
    with pytest.raises(UnsupportedError, match="RestoreV2 x1"):
        refuse_meta_graph(meta_graph(signature_output="restore:0"), definition)


# What is refused before TensorFlow is asked: Keras files


def entry(
    kind: str, module: str | None = "keras.layers", registered: str | None = None, **config: Any
) -> dict[str, Any]:
    return {"class_name": kind, "module": module, "registered_name": registered, "config": {"name": "a", **config}}


def screened(layer: dict[str, Any]) -> None:
    network = {"class_name": "Sequential", "module": "keras", "config": {"layers": [layer]}}
    for item in keras_config._entries(network, 0):
        keras_config._refuse(item)


@pytest.mark.parametrize(
    "harmless",
    [
        entry("Dense", activation={"class_name": "function", "module": "builtins", "config": "relu"}),
        entry("Dense", kernel_initializer=entry("GlorotUniform", "keras.initializers")),
        entry("Add", "keras.src.ops.numpy"),
        entry("Dense", None),
        entry("StringLookup", vocabulary=["a", "b"]),
    ],
)
def test_configurations_of_keras_itself_pass(harmless: dict[str, Any]) -> None:
    screened(harmless)


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (entry("Lambda"), "holds code"),
        (entry("Dense", activation={"class_name": "__lambda__", "config": {"value": "4wE="}}), "holds code"),
        (entry("TFSMLayer", filepath="/elsewhere"), "holds code"),
        (entry("TorchModuleWrapper", module="gA=="), "holds code"),
        (entry("Mine", None, "my>Mine"), "is custom"),
        (entry("Mine", "os.path"), "is custom"),
        (
            entry("Dense", activation={"class_name": "function", "module": "keras.utils", "config": "get_file"}),
            "is custom",
        ),
        (entry("Popen", "subprocess"), "is custom"),
        (entry("my>Mine", None), "is custom"),
        (entry("StringLookup", vocabulary="/etc/passwd"), "names a file"),
    ],
)
def test_configurations_that_name_something_else_are_refused(hostile: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        screened(hostile)


def test_keras_file_is_screened_before_the_child_starts(fake: Path) -> None:
    (fake / "net.keras").write_bytes(b"no model at all")
    with pytest.raises(FormatError, match=r"net.keras: neither a .keras file"):
        read(fake / "net.keras", conversion=Conversion(via_tensorflow=True))
