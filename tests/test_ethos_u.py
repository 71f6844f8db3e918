"""Target `ethos_u`: what Vela makes of real models, and programs in its place that fail, hang and print nonsense."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import Cli
from small_nets import DEMO, classifier, shared_file, through_file, unknown_operator
from tersor.errors import CompilerFailure, CompilerMissing, GraphError, RecipeError, UnsupportedError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.check import check_model
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model, Op, Tensor
from tersor.ir.placement import CPU, Placement
from tersor.ir.quant import PerTensor, QuantParams
from tersor.report.placement import headline, placement_to_dict
from tersor.stages.compile_for import compile_for
from tersor.stages.load import load
from tersor.stages.place import as_flavour
from tersor.stages.place import place as placed
from tersor.targets import _compiler, ethos_u
from tersor.targets.ethos_u import vela
from tersor.targets.ethos_u.said import ALL_CYCLES, INFERENCE, NPU_CYCLES, read_said
from tersor.targets.ethos_u.settings import ACCELERATORS, DEFAULT, Settings

HAS_VELA = importlib.util.find_spec("ethosu") is not None
needs_vela = pytest.mark.skipif(not HAS_VELA, reason="Vela is not installed (tersor[ethos_u])")
RESNET = "cifar10_resnet8/pretrainedResnet_quant.tflite"
MOBILENET = "imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5"
MOVENET = "edge_tpu_pairs/movenet_single_pose_lightning_ptq.tflite"
DEEPLAB = "edge_tpu_pairs/deeplabv3_mnv2_dm05_pascal_quant.tflite"
LSTM = "edge_tpu_pairs/keras_lstm_mnist_ptq.tflite"


def integers(flavour: str = "int8") -> Model:
    return through_file(as_flavour(classifier(), flavour))


def compiled(model: Model, folder: Path, **options: str) -> tuple[_compiler.Compiled, Placement]:
    """What Vela makes of a model, and what it says of it."""
    tflite.write(model, folder / "model.tflite")
    made = vela.compile_file(folder / "model.tflite", Settings(**options))  # type: ignore[arg-type]
    return made, ethos_u.explain(model, made)


def check_counts(made: _compiler.Compiled, found: Placement) -> None:
    """The placement is what Vela's own summary line says, and what the compiled file holds."""
    (count,) = re.findall(r"^CPU operators = (\d+)", made.log, re.MULTILINE)
    assert len(found.left) == int(count)
    after = tflite.read(made.path).graph
    assert found.parts == sum(op.custom_code == "ethos-u" for op in after.ops)
    left = [op.label for op in after.ops if op.custom_code != "ethos-u"]
    assert sorted(item.op for item in found.left) == sorted(left)


# -- real models


@needs_vela
def test_the_demo_network_runs_on_the_npu(tmp_path: Path) -> None:
    made, found = compiled(through_file(as_flavour(load(DEMO), "int8")), tmp_path)
    check_counts(made, found)
    assert headline(found) == "all 31 operators are on the Ethos-U55-128"
    assert {item.on for item in found.operators} == {"ethos_u"}
    assert found.parts == 1
    assert 20_000 < found.amount("SRAM") < 50_000
    assert 60_000 < found.amount("off-chip flash") < 120_000
    assert 0 < found.amount(NPU_CYCLES) <= found.amount(ALL_CYCLES)
    assert found.amount(INFERENCE) == pytest.approx(found.amount(ALL_CYCLES) / 500e6 * 1e3)  # Vela's default: 500 MHz
    assert "Ethos_U55_High_End_Embedded, Shared_Sram (Vela's defaults; name your board's with" in found.notes[0]


@needs_vela
@pytest.mark.parametrize("name", [RESNET, MOBILENET, LSTM, MOVENET])
def test_real_models(name: str, tmp_path: Path) -> None:
    model = load(shared_file(name))
    if name == MOBILENET:
        model = as_flavour(model, "int8")
    made, found = compiled(model, tmp_path)
    check_counts(made, found)
    if name != MOVENET:
        assert not found.left
        return
    assert (len(found.left), found.parts) == (29, 13)
    wrong = {item.index: item for item in found.left}
    assert wrong[89].op == "ARG_MAX"
    assert wrong[89].rule == "Operation must be performed along the depth axis."
    assert wrong[89].reason is not None
    assert wrong[89].reason.startswith("Axis is 1")
    assert wrong[90].rule == ethos_u.NO_SUCH
    assert wrong[156].remedy is not None
    assert "return integers" in wrong[156].remedy  # the one DEQUANTIZE that ends the network
    assert "cycles and time are of the NPU's part; what the CPU takes is not in them" in found.notes


@needs_vela
def test_keyword_spotting(tmp_path: Path) -> None:
    shared_file("kws_dscnn/kws_ref_model/saved_model.pb")
    pytest.importorskip("tensorflow", reason="the SavedModel needs TensorFlow")
    made, found = compiled(as_flavour(load(shared_file("kws_dscnn/kws_ref_model")), "int8"), tmp_path)
    check_counts(made, found)
    assert not found.left


@needs_vela
@pytest.mark.slow
def test_a_constraint_of_several_lines_is_told_by_its_first(tmp_path: Path) -> None:
    model = load(shared_file(DEEPLAB))
    found = placed(model, "ethos_u", accelerator="ethos-u55-256")
    (left,) = found.left
    assert left.op == "RESIZE_BILINEAR"
    assert left.rule is not None
    assert len(left.rule.splitlines()) > 5
    assert left.status == left.rule.splitlines()[0]
    assert not placed(model, "ethos_u", accelerator="ethos-u85-256").left


@needs_vela
@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_every_accelerator_compiles(accelerator: str, tmp_path: Path) -> None:
    made, found = compiled(integers(), tmp_path, accelerator=accelerator)
    check_counts(made, found)
    assert found.device == accelerator.replace("ethos-u", "Ethos-U")
    assert not found.left
    assert found.amount(ALL_CYCLES) > 0


@needs_vela
def test_other_systems_have_other_memories() -> None:
    model = integers()
    found = placed(model, "ethos_u", system_config="Ethos_U55_Deep_Embedded", memory_mode="Sram_Only")
    assert found.amount("on-chip flash") > 0
    assert found.amount("off-chip flash") == 0
    assert "defaults" not in found.notes[0]
    assert [item.is_estimate for item in found.resources if item.unit == "bytes"] == [False, False]
    assert all(item.is_estimate for item in found.resources if item.unit != "bytes")


@needs_vela
def test_a_configuration_of_ones_own(tmp_path: Path) -> None:
    import ethosu

    (folder,) = ethosu.__path__
    text = (Path(folder) / "config_files" / "Arm" / "vela.ini").read_text("utf-8")
    own = tmp_path / "board.ini"
    own.write_text(text.replace("Ethos_U55_Deep_Embedded", "Board").replace("core_clock=200e6", "core_clock=100e6"))
    found = placed(integers(), "ethos_u", system_config="Board", memory_mode="Sram_Only", vela_config=own)
    assert found.amount(INFERENCE) == pytest.approx(found.amount(ALL_CYCLES) / 100e6 * 1e3)


# -- other models


@needs_vela
def test_float_doors_stay_on_the_cpu() -> None:
    found = placed(integers("int8_float_io"), "ethos_u")
    first, last = found.left
    assert (first.op, last.op) == ("QUANTIZE", "DEQUANTIZE")
    assert first.reason is not None
    assert first.reason.startswith("Operation has tensor with unsupported DataType Float32 (")
    assert first.rule == 'Feature-map dataTypes must be one of {"INT16", "INT32", "INT64", "INT8", "UINT8"}'
    assert first.status == first.rule
    assert (last.reason, last.rule) == ("Unsupported opType", ethos_u.NO_SUCH)
    assert all(item.remedy is not None and "(the recipe's interface)" in item.remedy for item in found.left)


@needs_vela
def test_16_bit_activations_run(tmp_path: Path) -> None:
    made, found = compiled(integers("int16x8"), tmp_path)
    check_counts(made, found)
    assert {item.op for item in found.left} == {"QUANTIZE", "DEQUANTIZE"}


@needs_vela
def test_what_vela_computes_beforehand_is_not_on_the_cpu(tmp_path: Path) -> None:
    """The shape of a value, which the NPU cannot tell, is known when the file is compiled."""
    builder = Builder("shape")
    x = builder.input("x", [1, 4], DType.INT8)
    y = builder.op("RELU", [x], [1, 4], dtype=DType.INT8, name="y")
    shape = builder.op("SHAPE", [y], [2], dtype=DType.INT32, name="shape")
    z = builder.op("RESHAPE", [y, shape], [1, 4], dtype=DType.INT8, name="z")
    last = builder.op("RELU", [z], [1, 4], dtype=DType.INT8, name="last")
    model = through_file(builder.model([last]))
    scale = QuantParams((0.5,), (0,), DType.INT8, PerTensor())
    values = [replace(item, quant=scale) for item in model.graph.tensors.values() if item.dtype is DType.INT8]
    made, found = compiled(model.with_graph(model.graph.edit(tensors=values)), tmp_path)
    check_counts(made, found)
    assert [item.status for item in found.operators if item.op == "SHAPE"] == [ethos_u.FOLDED]
    assert not found.left


@needs_vela
def test_float_models_are_judged_in_int8() -> None:
    found = placed(classifier(), "ethos_u")
    assert "after quantization to int8" in found.notes[0]
    assert not found.left
    assert all(item.is_estimate for item in found.resources)


@needs_vela
def test_operators_that_nobody_knows_stay() -> None:
    found = placed(as_flavour(unknown_operator(), "int8"), "ethos_u")
    assert found.left
    assert all(item.rule is not None for item in found.left)


@needs_vela
def test_more_than_one_sample(tmp_path: Path) -> None:
    made, found = compiled(through_file(as_flavour(load(DEMO.with_suffix(".keras"), batch=4), "int8")), tmp_path)
    check_counts(made, found)
    (left,) = found.left
    assert left.op == "MEAN"
    assert left.reason is not None
    assert left.reason.startswith("Batch > 1")


@needs_vela
def test_open_sizes_stay_on_the_cpu() -> None:
    model = integers()
    (name,) = model.graph.inputs
    tensor = model.graph.tensors[name]
    extra = replace(tensor, open_shape=(-1, -1, *tensor.shape[2:]))
    opened = replace(model.graph, tensors={**model.graph.tensors, name: extra})
    found = placed(replace(model, graphs=(opened, *model.graphs[1:])), "ethos_u")
    (left,) = found.left
    assert (left.index, left.rule) == (0, "Only the first dimension of tensors can be dynamic.")
    assert left.remedy == "convert the model with a fixed input size"
    rest = ",".join(map(str, tensor.shape[2:]))
    assert any(f"input {name} is [?,?,{rest}]" in note for note in found.notes)


@needs_vela
def test_a_model_that_vela_refuses(tmp_path: Path, cli: Cli, place: Path) -> None:
    builder = Builder()
    x = builder.input("x", (1, 4, 4, 8))
    y = builder.op("HARD_SWISH", [x], shape=(1, 4, 4, 8))
    model = through_file(builder.model(outputs=[y]))
    graph = model.graph
    found = ethos_u.place(model)
    assert found.refusal is not None
    assert "Does not have valid TFLite Semantics. - IFM has to be 8bit" in found.refusal
    assert [item.on for item in found.operators] == [CPU] * len(graph.ops)
    assert headline(found).startswith("nothing runs on the Ethos-U55-128, Vela refuses the file: HARD_SWISH")


def test_settings_are_checked(cli: Cli, place: Path) -> None:
    tflite.write(integers(), place / "int8.tflite")
    cases = (
        (["--accelerator", "u55"], f"accelerator 'u55': there are {', '.join(ACCELERATORS)}"),
        (["--system-config", "Ethos_U65_High_End"], f"is of an Ethos-U65, and the accelerator is {DEFAULT}"),
        (["--vela-config", "none.ini"], "Vela configuration none.ini: there is no such .ini file"),
        (["--multiple-subgraphs"], "target ethos_u has no option multiple_subgraphs"),
    )
    for arguments, text in cases:
        answer = cli("place", "int8.tflite", "--target", "ethos_u", *arguments)
        assert (answer.code, answer.out) == (2, "")
        assert text in answer.err
        assert answer.err.count("\n") == 1
    (place / "board.ini").write_text("[System_Config.Board]\n")
    answer = cli("place", "int8.tflite", "--target", "ethos_u", "--vela-config", "board.ini")
    assert "say which system and memory mode" in answer.err
    answer = cli("place", "int8.tflite", "--target", "edge_tpu", "--accelerator", DEFAULT)
    assert "target edge_tpu has no option accelerator" in answer.err


@needs_vela
@pytest.mark.parametrize(
    ("option", "known"), [("--system-config", "Ethos_U55_Deep_Embedded"), ("--memory-mode", "Shared_Sram")]
)
def test_names_that_vela_does_not_know(option: str, known: str, cli: Cli, place: Path) -> None:
    tflite.write(integers(), place / "int8.tflite")
    answer = cli("place", "int8.tflite", "--target", "ethos_u", option, "Nonsense")
    assert answer.code == 2
    assert "Nonsense not found in Vela config file; it has " in answer.err
    assert known in answer.err
    assert answer.err.count("\n") == 1


@needs_vela
def test_what_the_command_prints(cli: Cli, place: Path) -> None:
    tflite.write(integers("int8_float_io"), place / "int8.tflite")
    answer = cli("place", "int8.tflite", "-t", "ethos_u")
    assert answer.code == 0, answer.err
    assert " operators on the Ethos-U55-128, 100.0 % of MACs; DEQUANTIZE" in answer.out
    assert "let the model take integers" in answer.out
    assert "most cycles on the NPU: operator " in answer.err
    assert "SRAM: " in answer.err
    answer = cli("place", "int8.tflite", "-t", "ethos_u", "--json")
    found = json.loads(answer.out)
    assert found["target"] == "ethos_u"
    assert {item["on"] for item in found["operators"]} == {"ethos_u", "cpu"}
    units = {item["name"]: item["unit"] for item in found["resources"]}
    assert units[NPU_CYCLES] == "cycles"
    assert units[INFERENCE] == "ms"


# -- compiling


@needs_vela
def test_compile(cli: Cli, place: Path) -> None:
    tflite.write(integers("int8_float_io"), place / "int8.tflite")
    answer = cli("compile", "int8.tflite", "-t", "ethos_u", "--accelerator", "ethos-u65-256", "-o", "out/")
    assert answer.code == 0, answer.err
    count = len(tflite.read(place / "int8.tflite").graph.ops)
    assert answer.out.startswith(f"compiled: {count - 2} of {count} operators are on the Ethos-U65-256\n")
    assert "forecast" not in answer.out + answer.err
    assert "compiler 5." in answer.err
    assert "CPU operators = 2" in (place / "out" / "int8_vela.log").read_text("utf-8")
    again = cli("place", "out/int8_vela.tflite", "-t", "ethos_u")
    assert again.out.startswith("1 of 3 operators on the Ethos-U")
    assert "this file is already compiled for an Ethos-U (1 piece)" in again.err
    assert "weights and commands: " in again.err
    for command in (["compile", "-t", "ethos_u"], ["place", "-t", "edge_tpu"]):
        answer = cli(command[0], "out/int8_vela.tflite", *command[1:])
        assert answer.code == UnsupportedError.exit_code
        assert "already compiled for an Ethos-U" in answer.err


@needs_vela
def test_compile_a_model_in_many_pieces(tmp_path: Path) -> None:
    done = compile_for(load(shared_file(MOVENET)), "ethos_u", tmp_path / "out.tflite")
    assert done.pieces == 13
    assert not done.wrong
    assert done.resources == done.forecast.resources
    again = placed(tflite.read(done.path), "ethos_u")
    assert (len(again.left), again.parts) == (29, 13)


def test_compile_wants_integers(cli: Cli, place: Path) -> None:
    answer = cli("compile", "net.tflite", "--target", "ethos_u")
    assert answer.code == UnsupportedError.exit_code
    assert answer.err.rstrip().endswith("then tersor compile net.int8.tflite --target ethos_u")


def test_parts_of_one_value_may_come_from_several_pieces() -> None:
    names = ("x", "y", "z")
    tensors = {name: Tensor(name, (1, 4), DType.INT8) for name in names}

    def model(code: str) -> Model:
        ops = [Op(f"part{n}", "CUSTOM", ("x",), ("y",), custom_code=code) for n in range(2)]
        base = Builder().model(outputs=[])
        graph = replace(base.graph, tensors=tensors, ops=tuple(ops), inputs=("x",), outputs=("y",))
        return replace(base, graphs=(graph,))

    check_model(model("ethos-u"))
    with pytest.raises(GraphError, match="a second time"):
        check_model(model("edgetpu-custom-op"))


# -- programs in Vela's place


def program(path: Path, body: str) -> Path:
    path.write_text(f"#!{sys.executable}\nimport os, pathlib, signal, sys, time\nname = sys.argv[1]\n{body}\n", "utf-8")
    path.chmod(0o755)
    return path


NONSENSE = """
stem = name.removesuffix(".tflite")
pathlib.Path(stem + "_vela.tflite").write_bytes(pathlib.Path(name).read_bytes())
pathlib.Path(stem + "_summary_x.csv").write_text("nonsense")
pathlib.Path(stem + "_debug.xml").write_text("<debug/>")
print("done")
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("print('a'); os.kill(os.getpid(), signal.SIGSEGV)", "Vela crashed (SIGSEGV)"),
        ("print('first'); print('the last word'); sys.exit(3)", "Vela failed (exit status 3): the last word"),
        ("print('all is well')", "Vela wrote no file: all is well"),
        ("pass", "Vela wrote no file, and said nothing"),
        ("time.sleep(60)", "Vela took more than 1 s and was stopped, and said nothing"),
        (NONSENSE, "Vela's report is not understood ("),
    ],
    ids=["crash", "failure", "nothing", "silence", "hang", "nonsense"],
)
def test_programs_that_do_not_work(
    body: str, told: str, cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(vela.PROGRAM, str(program(place / "fake", body)))
    monkeypatch.setattr(vela, "TIME_LIMIT", 1.0 if "sleep" in body else 60.0)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    tflite.write(integers(), place / "int8.tflite")
    answer = cli("place", "int8.tflite", "--target", "ethos_u")
    assert (answer.code, answer.out) == (CompilerFailure.exit_code, "")
    assert told in answer.err
    assert answer.err.count("\n") == 1
    printed = re.search(r"all that it printed is in (\S+)", answer.err)
    assert (printed is None) == (body in ("pass", "time.sleep(60)"))
    if printed is not None:
        assert Path(printed[1]).read_text("utf-8").strip()
    assert not list(place.glob("tersor-*"))


@needs_vela
def test_a_report_that_does_not_fit_the_model(tmp_path: Path) -> None:
    model = integers()
    made, _ = compiled(model, tmp_path)
    report = tmp_path / "model_debug.xml"
    text = report.read_text("utf-8")
    for wrong in (text.replace("ext_key", "key"), re.sub(r'(?m)^1,"(\w+)",(.*),0$', "", text), text[: len(text) // 2]):
        assert wrong != text
        report.write_text(wrong, "utf-8")
        with pytest.raises(CompilerFailure, match="not understood"):
            read_said(made, model.graph)
    report.unlink()
    with pytest.raises(CompilerFailure, match="not understood"):
        read_said(made, model.graph)


def test_without_vela(monkeypatch: pytest.MonkeyPatch, cli: Cli, place: Path) -> None:
    monkeypatch.delenv(vela.PROGRAM, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(place))
    tflite.write(integers(), place / "int8.tflite")
    for command in ("place", "compile"):
        answer = cli(command, "int8.tflite", "--target", "ethos_u")
        assert answer.code == CompilerMissing.exit_code
        assert "pip install 'tersor[ethos_u]'" in answer.err
        assert answer.err.count("\n") == 1
    monkeypatch.setenv(vela.PROGRAM, "no-such-program")
    with pytest.raises(RecipeError, match="TERSOR_VELA no-such-program: there is no such program"):
        vela.found()


@needs_vela
def test_the_program_can_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    body = f"os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'ethosu.vela', *sys.argv[1:]])"
    monkeypatch.setenv(vela.PROGRAM, str(program(tmp_path / "elsewhere", body)))
    found = placed(integers(), "ethos_u")
    assert not found.left
    assert found.notes[0].startswith("compiled by Vela for ")
    assert json.dumps(placement_to_dict(found))


def test_arrays_stay_as_they_were() -> None:
    """What `content` writes is the model that is judged."""
    model = integers()
    again = tflite.read_bytes(tflite.write_bytes(model))
    for name, tensor in model.graph.tensors.items():
        if tensor.data is not None:
            np.testing.assert_array_equal(tensor.data, again.graph.tensors[name].data)
