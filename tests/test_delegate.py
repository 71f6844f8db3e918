"""Delegates: one is compiled here from C, and what goes wrong with others is said in a line."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from conftest import Answer, Cli
from small_nets import classifier, random, shared_file
from tersor.errors import RecipeError, RuntimeFailure
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Graph, Model, Op, Tensor
from tersor.report.delegated import notes
from tersor.runtimes.delegate import KNOWN, Delegate, find_delegate, library_of
from tersor.runtimes.engine import Engine
from tersor.stages.run import run

SOURCE = Path(__file__).with_name("external_delegate.c")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The delegate of `external_delegate.c`."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or platform.system() == "Windows":
        pytest.skip("there is no C compiler on this machine")
    path = tmp_path_factory.mktemp("delegate") / "negator.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, SOURCE], check=True)
    return path


@pytest.fixture(scope="session")
def edge_tpu(library: Path) -> Path:
    """A folder in which the same delegate has the name of the Edge TPU's."""
    folder = library.parent / "edge_tpu"
    folder.mkdir()
    shutil.copy(library, folder / library_of("edge_tpu"))
    return folder


def network() -> Model:
    """x [1,4] -> NEG -> COS -> NEG -> ADD to itself."""
    builder = Builder("negations")
    y = builder.op("NEG", [builder.input("x", [1, 4])], [1, 4], name="first")
    y = builder.op("NEG", [builder.op("COS", [y], [1, 4], name="wave")], [1, 4], name="second")
    return builder.model([builder.op("ADD", [y, y], [1, 4], name="twice")])


def computed(x: Array, offset: float = 0.0) -> Array:
    """What the network answers where NEG is -x + offset."""
    return 2 * (-np.cos(-x + offset) + offset)


def compiled() -> Model:
    """x [1,4] -> the custom operator that the Edge TPU's compiler writes -> NEG."""
    names = ("x", "inside", "y")
    tensors = {name: Tensor(name, (1, 4), classifier().graph.tensors["x"].dtype) for name in names}
    custom = Op("tpu", "CUSTOM", ("x",), ("inside",), custom_code="edgetpu-custom-op", custom_options=b"")
    neg = network().graph.ops[0]
    last = Op("last", "NEG", ("inside",), ("y",), options=neg.options, version=neg.version)
    return Model((Graph("g", tensors, (custom, last), ("x",), ("y",)),))


@pytest.fixture
def net(place: Path) -> Path:
    """The file of `network` in the working folder, with x.npy, two samples for it, and negator.so where it can be."""
    tflite.write(network(), place / "net.tflite")
    np.save(place / "x.npy", random([2, 4]))
    return place


def printed(answer: Answer) -> list[list[float]]:
    """The outputs that `tersor run --json` printed, sample by sample."""
    return [np.ravel(sample["twice"]).tolist() for sample in json.loads(answer.out)]


def test_delegate_computes_what_it_takes_and_that_is_said(cli: Cli, net: Path, library: Path) -> None:
    x = np.load("x.npy")
    plain = cli("run", "net.tflite", "x.npy", "--json")
    np.testing.assert_allclose(printed(plain), computed(x), atol=1e-6)
    assert "delegate" not in plain.err
    for kernels in ("xnnpack", "builtin"):
        given = ("--delegate", library, "--delegate-option", "offset=0.5", "--kernels", kernels)
        answer = cli("run", "net.tflite", "x.npy", "--json", *given)
        np.testing.assert_allclose(printed(answer), computed(x, 0.5), atol=1e-6)
        said = "delegate negator.so runs 2 of 4 operators in 2 pieces (2 NEG); the kernels run 1 COS, 1 ADD"
        assert said in answer.err
    both = cli("run", "net.tflite", "x.npy", "--json", "--batch", "2", *given)
    np.testing.assert_allclose(printed(both), computed(x, 0.5), atol=1e-6)


def test_from_python(net: Path, library: Path) -> None:
    x = random([1, 4], seed=1)
    with Engine(delegate=find_delegate(str(library), {"offset": "-1"})) as engine:
        (answer,) = run(net / "net.tflite", [x], engine=engine)
        np.testing.assert_allclose(answer["twice"], computed(x, -1), atol=1e-6)
        assert engine.shares[0].pieces == ((0,), (2,))
        assert engine.shares[0].operators == ("NEG", "COS", "NEG", "ADD")


def test_operators_in_a_row_are_one_piece(net: Path, library: Path) -> None:
    builder = Builder("row")
    y = builder.op("NEG", [builder.input("x", [1, 4])], [1, 4], name="first")
    for name in ("second", "third"):
        y = builder.op("NEG", [y], [1, 4], name=name)
    wave = builder.op("COS", [y], [1, 4], name="wave")
    tflite.write(builder.model([builder.op("NEG", [wave], [1, 4], name="last")]), net / "row.tflite")
    x = random([1, 4], seed=2)
    with Engine(delegate=find_delegate(str(library), {"offset": "0.5", "mode": "together"})) as engine:
        (answer,) = run(net / "row.tflite", [x], engine=engine)
    np.testing.assert_allclose(answer["last"], -np.cos(-x + 0.5) + 0.5, atol=1e-6)
    assert engine.shares[0].pieces == ((0, 1, 2), (4,))
    assert engine.shares[0].taken == (0, 1, 2, 4)


def test_piece_of_several_operators_is_counted_whole() -> None:
    """As the runtime tells of a delegate that takes two operators in one go, with a constant between them."""
    from tersor.runtimes.loaded_delegate import share_of

    class Told:
        def _get_ops_details(self) -> list[dict[str, object]]:
            nodes: list[tuple[str, list[int], list[int]]] = [
                ("MUL", [0, 9], [1]),
                ("ADD", [1, 8], [2]),
                ("COS", [2], [3]),
                ("DELEGATE", [0, 9, 8], [2]),
            ]
            return [dict(zip(("op_name", "inputs", "outputs"), node, strict=True)) for node in nodes]

    share = share_of(Told())
    assert share.pieces == ((0, 1),)
    (said,) = notes(Delegate("d", "d.so"), [("net", share)])
    assert said == "net: delegate d runs 2 of 3 operators (1 MUL, 1 ADD); the kernels run 1 COS"


def test_delegate_that_takes_nothing_is_told(cli: Cli, net: Path, library: Path) -> None:
    answer = cli("run", "net.tflite", "x.npy", "--delegate", library, "--delegate-option", "mode=nothing")
    assert answer.code == 0
    assert "warning: delegate negator.so takes none of the 4 operators, so all of them run on the CPU" in answer.err


FAILURES = {
    "fail": r"error: delegate negator.so: the negator is \xfft at home",
    "silent": "error: delegate negator.so: was not created with mode=silent: it does not say why",
    "refuse": "with the delegate negator.so refuse the model: this delegate refuses every graph",
    "crash": "crashed (SIGSEGV) while loading net.tflite on the xnnpack kernels with the delegate negator.so",
    "crash_in_invoke": "crashed (SIGSEGV) while running net.tflite on the xnnpack kernels with the delegate negator.so",
}


@pytest.mark.parametrize("mode", FAILURES)
def test_failures_end_in_one_line_and_cost_nothing(mode: str, cli: Cli, net: Path, library: Path) -> None:
    before = sorted(net.iterdir())
    option = f"mode={mode}"
    answer = cli("run", "net.tflite", "x.npy", "-o", "out.npz", "--delegate", library, "--delegate-option", option)
    assert (answer.code, answer.out) == (7, "")
    assert FAILURES[mode] in answer.err
    assert answer.err.count("\n") == 1
    assert sorted(net.iterdir()) == before


def test_after_a_crash_the_engine_goes_on(net: Path, library: Path) -> None:
    with Engine(delegate=find_delegate(str(library), {"mode": "crash_in_invoke"})) as engine:
        handle = engine.open(str(net / "net.tflite"))
        with pytest.raises(RuntimeFailure, match="SIGSEGV"):
            handle.run([random([1, 4])])
        assert engine.open(str(net / "net.tflite")).inputs == handle.inputs


def test_options_and_device_reach_the_delegate(cli: Cli, net: Path, library: Path) -> None:
    given = ("--delegate-option", "mode=tell", "--delegate-option", "path=a=ü", "--device", "usb:1")
    answer = cli("run", "net.tflite", "x.npy", "--delegate", library, *given)
    assert "delegate negator.so: options: mode=tell path=a=ü device=usb:1" in answer.err


def test_edge_tpu_runs_compiled_files(cli: Cli, net: Path, edge_tpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a library of its name, which takes the compiler's operator."""
    if platform.system() != "Linux":
        pytest.skip("where libraries are looked for is told otherwise on this system")
    tflite.write(compiled(), net / "net_edgetpu.tflite")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(edge_tpu))
    given = ("--delegate", "edge_tpu", "--device", ":0", "--delegate-option", "offset=0.25")
    answer = cli("run", "net_edgetpu.tflite", "x.npy", "--json", *given)
    assert answer.code == 0, answer.err
    assert "delegate edge_tpu runs 2 of 2 operators in 2 pieces (1 edgetpu-custom-op, 1 NEG)" in answer.err
    found = [np.ravel(sample["y"]).tolist() for sample in json.loads(answer.out)]
    np.testing.assert_allclose(found, np.load("x.npy"), atol=1e-6)
    silent = cli("run", "net_edgetpu.tflite", "x.npy", *given, "--delegate-option", "mode=silent")
    assert "was not created with offset=0.25 mode=silent device=:0: it finds no such Edge TPU" in silent.err
    crashed = cli("run", "net_edgetpu.tflite", "x.npy", *given, "--delegate-option", "mode=crash")
    assert "delegate edge_tpu (a libedgetpu that was built for another version of TensorFlow Lite" in crashed.err


def test_compiled_file_without_delegate_says_what_to_give(cli: Cli, net: Path, library: Path) -> None:
    tflite.write(compiled(), net / "net_edgetpu.tflite")
    answer = cli("run", "net_edgetpu.tflite", "x.npy")
    assert answer.code == 7
    assert "error: the model is compiled for the Edge TPU (edgetpu-custom-op) and runs there only" in answer.err
    assert "--delegate edge_tpu" in answer.err
    other = cli("run", "net_edgetpu.tflite", "x.npy", "--delegate", library, "--delegate-option", "mode=nothing")
    assert "holds edgetpu-custom-op, which LiteRT does not have and the delegate negator.so does not take" in other.err


def test_real_compiled_file_without_delegate(cli: Cli, place: Path) -> None:
    path = shared_file("edge_tpu_pairs/conv_firstTest_edgetpu.tflite")
    np.save(
        place / "x.npy", np.zeros([1, *tflite.read(path).graph.tensors[tflite.read(path).graph.inputs[0]].shape[1:]])
    )
    assert "compiled for the Edge TPU (edgetpu-custom-op) and runs there only" in cli("run", path, "x.npy").err


def test_missing_edge_tpu_library_says_how_to_install_it(cli: Cli, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that does not have it: this one is made to look for a name that there is not."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setitem(KNOWN["edge_tpu"].libraries, "Linux", "libnotthere.so.1")
    answer = cli("run", "net.tflite", "x.npy", "--delegate", "edge_tpu")
    assert answer.code == 7
    assert answer.err == (
        "error: delegate edge_tpu: there is no libnotthere.so.1 on this system: install Coral's package "
        "libedgetpu1-std (https://coral.ai/software), or give the library's path to --delegate\n"
    )


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("Linux", "libedgetpu.so.1"),
        ("Darwin", "libedgetpu.1.dylib"),
        ("Windows", "edgetpu.dll"),
        ("BSD", "libedgetpu.so.1"),
    ],
)
def test_library_by_operating_system(system: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    assert find_delegate("edge_tpu", {"device": "pci:2"}) == Delegate("edge_tpu", name, (("device", "pci:2"),))


@pytest.mark.parametrize("device", ["usb", "pci", ":0", "usb:1", "pci:10"])
def test_devices(device: str) -> None:
    assert find_delegate("edge_tpu", {"device": device}).options == (("device", device),)


@pytest.mark.parametrize("device", ["", "tpu", "usb1", "usb:", "0", "usb:1:2", "USB"])
def test_odd_devices_are_refused(device: str) -> None:
    with pytest.raises(RecipeError, match=r"is not usb, pci, :N, usb:N or pci:N \(N counts from 0\)"):
        find_delegate("edge_tpu", {"device": device})


MISUSES = {
    ("--delegate", "edgetpu"): "unknown delegate 'edgetpu': give edge_tpu, or the path of a library",
    ("--delegate", "no/where.so"): "delegate no/where.so: there is no such file",
    ("--delegate", "./"): "is a folder, not a library",
    ("--device", "usb"): "--device is for a delegate: give --delegate, too",
    ("--delegate-option", "a=b"): "--delegate-option is for a delegate: give --delegate, too",
    ("--delegate", "edge_tpu", "--delegate-option", "fast"): "--delegate-option 'fast' is not KEY=VALUE",
    ("--delegate", "edge_tpu", "--delegate-option", "=x"): "--delegate-option '=x' is not KEY=VALUE",
    ("--delegate", "edge_tpu", "--delegate-option", "a=1", "--delegate-option", "a=2"): "a is given twice",
    ("--delegate", "edge_tpu", "--device", "usb", "--delegate-option", "device=pci"): "are the same: give one",
    ("--delegate", "edge_tpu", "--device", "tpu0"): "device 'tpu0' is not usb",
    ("--delegate", "edge_tpu", "--kernels", "micro"): "a microcontroller's kernels take no delegate",
}


@pytest.mark.parametrize("given", MISUSES, ids=" ".join)
def test_misuses_are_refused_before_anything_runs(given: tuple[str, ...], cli: Cli, net: Path) -> None:
    answer = cli("run", "net.tflite", "x.npy", *given)
    assert (answer.code, answer.out) == (2, "")
    assert MISUSES[given] in answer.err


def test_files_that_are_no_delegates(cli: Cli, net: Path) -> None:
    (net / "notes.so").write_text("not a library")
    answer = cli("run", "net.tflite", "x.npy", "--delegate", "notes.so")
    assert answer.code == 7
    assert f"delegate notes.so: {net / 'notes.so'} does not load: " in answer.err
    absent = cli("run", "net.tflite", "x.npy", "--delegate", "libnotthere.so")
    assert "delegate libnotthere.so: libnotthere.so does not load: " in absent.err
    if platform.system() == "Linux":
        other = cli("run", "net.tflite", "x.npy", "--delegate", "libm.so.6")
        assert "libm.so.6 is no delegate: it has no tflite_plugin_create_delegate" in other.err


def test_evaluate_and_benchmark_take_a_delegate(cli: Cli, net: Path, library: Path) -> None:
    x = random([16, 4], seed=3)
    np.savez("labelled.npz", x=x, y=computed(x, 0.5))
    given = ("--delegate", library, "--delegate-option", "offset=0.5")
    plain = cli("evaluate", "net.tflite", "--data", "labelled.npz", "--metric", "mse", "--json")
    through = cli("evaluate", "net.tflite", "--data", "labelled.npz", "--metric", "mse", "--json", *given)
    assert json.loads(plain.out)["value"] > 0.1
    assert json.loads(through.out)["value"] < 1e-10
    assert "runs 2 of 4 operators" in through.err
    told = cli("evaluate", "net.tflite", "--data", "labelled.npz", "--metric", "mse", *given)
    assert told.out.endswith("on 16 samples, xnnpack kernels, delegate negator.so\n")
    timed = cli("benchmark", "net.tflite", "net.tflite", "--rounds", "1", "--json", *given)
    found = json.loads(timed.out)
    assert found["conditions"]["delegate"] == "negator.so"
    assert [item["delegate"]["pieces"] for item in found["models"]] == [[[0], [2]], [[0], [2]]]
    assert [item["peak_bytes"] for item in found["models"]] == [None, None]
    table = cli("benchmark", "net.tflite", "net.tflite", "--rounds", "1", *given)
    assert table.err.count("net.tflite: delegate negator.so runs 2 of 4 operators") == 2
    refused = cli("benchmark", "net.tflite", "--operators", *given)
    assert (refused.code, "without a delegate only" in refused.err) == (2, True)
