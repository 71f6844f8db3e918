"""`tersor compile`, with programs in the compiler's place that print what it prints, fail, hang and die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import flatbuffers
import pytest

from conftest import Answer, Cli
from small_nets import DEMO, classifier, shared_file, through_file
from tersor import registry
from tersor.errors import CompilerFailure, CompilerMissing, RecipeError, UnsupportedError
from tersor.formats import tflite
from tersor.formats.tflite.edge_tpu_package import read_package
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op
from tersor.ir.placement import Placement
from tersor.stages.compilation import was_mapped
from tersor.stages.compile_for import compile_for, load_finished
from tersor.stages.place import as_flavour, place
from tersor.targets import edge_tpu
from tersor.targets._compiler import Compiled
from tersor.targets.edge_tpu import statuses
from tersor.targets.edge_tpu.compiler import reason, statuses_in

PAIRS = "edge_tpu_pairs"
VERSION = "16.0.384591198"
CODE = "edgetpu-custom-op"


def package(cached: int = 96, streamed: int = 32, runtime: int = 14) -> bytes:
    """An operator's options as the compiler writes them: a map with a flatbuffer that holds others."""

    def finished(builder: flatbuffers.Builder, table: int, mark: bytes | None = None) -> bytes:
        builder.Finish(table, mark)
        return bytes(builder.Output())

    def executable(parameters: int, kind: int) -> bytes:
        builder = flatbuffers.Builder()
        values = builder.CreateByteVector(bytes(parameters))
        builder.StartObject(14)
        builder.PrependInt32Slot(4, 1000, 0)
        builder.PrependUOffsetTRelativeSlot(6, values, 0)
        builder.PrependInt16Slot(13, kind, 0)
        return finished(builder, builder.EndObject())

    builder = flatbuffers.Builder()
    texts = [builder.CreateString(executable(cached, 1)), builder.CreateString(executable(streamed, 2))]
    builder.StartVector(4, 2, 4)
    for text in reversed(texts):
        builder.PrependUOffsetTRelative(text)
    both = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, both, 0)
    multi = finished(builder, builder.EndObject())
    builder = flatbuffers.Builder()
    inside = builder.CreateByteVector(multi)
    builder.StartObject(2)
    builder.PrependInt32Slot(0, runtime, 0)
    builder.PrependUOffsetTRelativeSlot(1, inside, 0)
    return b"\1\0" + finished(builder, builder.EndObject(), b"DWN1")


def integers() -> Model:
    """The classifier in int8 between QUANTIZE and DEQUANTIZE, which stay on the CPU."""
    return through_file(as_flavour(classifier(), "int8_float_io"))


def as_compiled(model: Model, mapped: list[int], options: bytes | None = None) -> Model:
    """The model with some operators, which lie in a row, in one custom operator."""
    graph = model.graph
    inside = [graph.ops[place] for place in mapped]
    made = {name for op in inside for name in op.outputs}
    reads = [n for op in inside for n in op.present_inputs if n not in made and not graph.tensors[n].is_constant]
    writes = inside[-1].outputs
    custom = Op("tpu", "CUSTOM", (reads[0],), writes, custom_code=CODE, custom_options=options or package())
    ops = [op for place, op in enumerate(graph.ops) if place not in mapped]
    ops.insert(mapped[0], custom)
    used = {n for op in ops for n in (*op.inputs, *op.outputs)} | {*graph.inputs, *graph.outputs}
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in used}
    return Model((Graph(graph.name, tensors, tuple(ops), graph.inputs, graph.outputs),))


def table(counts: dict[tuple[str, str], int]) -> str:
    """As the compiler prints it."""
    rows = [f"{kind:<30} {count:<10} {status}" for (kind, status), count in counts.items()]
    return "\n".join(["Operator                       Count      Status", "", *rows, ""])


def printed(counts: dict[tuple[str, str], int], version: str = VERSION) -> str:
    """What the compiler prints of a model that it compiles."""
    left = sum(count for (_, status), count in counts.items() if status != statuses.MAPPED)
    return "\n".join(
        [
            f"Edge TPU Compiler version {version}",
            "Started a compilation timeout timer of 180 seconds.",
            "",
            "Model compiled successfully in 41 ms.",
            "",
            "Input model: net.tflite",
            "Input size: 5.61KiB",
            "Output model: ./net_edgetpu.tflite",
            "On-chip memory used for caching model parameters: 1.50KiB",
            "On-chip memory remaining for caching model parameters: 7.88MiB",
            "Off-chip memory used for streaming uncached model parameters: 0.00B",
            "Number of Edge TPU subgraphs: 1",
            f"Total number of operations: {sum(counts.values())}",
            "Operation log: ./net_edgetpu.log",
            f"Number of operations that will run on CPU: {left}",
            "",
            table(counts),
            "Compilation child process completed within timeout period.",
            "Compilation succeeded! ",
            "",
        ]
    )


def program(path: Path, body: str) -> Path:
    """A compiler that runs some Python, which knows the model's `name` and all `arguments`."""
    head = "import os, pathlib, shutil, signal, subprocess, sys, time\narguments = sys.argv[1:]\nname = arguments[-1]\n"
    path.write_text(f"#!{sys.executable}\n{head}{body}\n", "utf-8")
    path.chmod(0o755)
    return path


def shell_program(path: Path, body: str) -> Path:
    """A compiler that is a script of the shell, which starts quicker."""
    path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def net(place: Path) -> Path:
    """The working folder with `net.tflite`, the int8 network, and `good`, a compiler that compiles it as forecast."""
    model = integers()
    tflite.write(model, place / "net.tflite")
    forecast = placed(model)
    (place / "hidden").mkdir()
    tflite.write(as_compiled(model, [item.index for item in forecast.mapped]), place / "hidden" / "good.tflite")
    good(place, printed(dict(forecast.counts())))
    return place


placed = place


def good(folder: Path, text: str, written: str = "good") -> Path:
    """A compiler that prints the text and writes one of the hidden files."""
    source = folder / "hidden" / f"{written}.tflite"
    body = f"shutil.copyfile({str(source)!r}, name.replace('.tflite', '_edgetpu.tflite'))\nprint({text!r})"
    return program(folder / written, body)


def listing(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


def test_packages_made_here_are_read() -> None:
    found = read_package(package(cached=96, streamed=32))
    assert (found.cached, found.streamed, found.scratch, found.runtime) == (96, 32, 1000, 14)


def test_compiles_and_agrees_with_the_forecast(cli: Cli, net: Path) -> None:
    forecast = placed(tflite.read(net / "net.tflite"))
    assert 0 < len(forecast.mapped) < len(forecast.operators)
    answer = cli("compile", "net.tflite", "--target", "edge_tpu", "--compiler", "./good")
    assert answer.code == 0, answer.err
    mapped, total = len(forecast.mapped), len(forecast.operators)
    assert answer.out.startswith(f"compiled: {mapped} of {total} operators are on the Edge TPU, as forecast\n")
    assert "1 QUANTIZE" in answer.out
    assert "let the model take int8 or uint8" in answer.out
    assert "warning" not in answer.err
    assert "On-chip memory remaining for caching model parameters: 7.88MiB" in answer.err
    assert "parameters: 128 bytes; parameters kept on the chip: 96 bytes" in answer.err
    assert f"compiler {VERSION}, " in answer.err
    assert (net / "net_edgetpu.tflite").read_bytes() == (net / "hidden" / "good.tflite").read_bytes()
    log = (net / "net_edgetpu.log").read_text("utf-8")
    assert statuses_in(log) == forecast.counts()
    assert "Compilation succeeded!" in log


def test_json(cli: Cli, net: Path) -> None:
    answer = cli("compile", "net.tflite", "--compiler", "./good", "-o", "out/small.tflite", "--json")
    found = json.loads(answer.out)
    forecast = placed(tflite.read(net / "net.tflite"))
    assert [item["on"] for item in found["operators"]] == [item.on for item in forecast.operators]
    assert [item["forecast"] for item in found["operators"]] == [item.on for item in forecast.operators]
    assert (found["file"], found["log_file"]) == ("out/small.tflite", "out/small.log")
    assert found["differences"] == []
    assert found["compiler"]["version"] == VERSION
    assert found["compiler"]["command"][1:] == ["-s", "-o", ".", "net.tflite"]
    assert found["forecast"]["target"] == "edge_tpu"
    assert {item["name"]: item["amount"] for item in found["resources"]}["parameters kept on the chip"] == 96
    assert listing(net / "out") == {"small.tflite", "small.log"}


def test_says_operator_by_operator_where_the_forecast_is_wrong(cli: Cli, net: Path) -> None:
    model = tflite.read(net / "net.tflite")
    forecast = placed(model)
    *kept, last = [item.index for item in forecast.mapped]
    tflite.write(as_compiled(model, kept), net / "hidden" / "less.tflite")
    counts = dict(forecast.counts())
    kind = forecast.operators[last].op
    counts[kind, statuses.MAPPED] -= 1
    counts[kind, statuses.UNSPECIFIED] = 1
    counts = {row: count for row, count in counts.items() if count}
    good(net, printed(counts), "less")
    answer = cli("compile", "net.tflite", "--compiler", "./less")
    assert answer.code == 0
    assert answer.out.startswith(f"compiled: {len(kept)} of {len(model.graph.ops)} operators are on the Edge TPU\n")
    assert "warning: the forecast (tersor place) puts an operator elsewhere" in answer.err
    rows = [line.split(None, 4) for line in answer.out.splitlines() if line.startswith(str(last))]
    assert [row[:4] for row in rows] == [[str(last), kind, "edge_tpu", "cpu"]]
    done = compile_for(model, compiler="./less", output="again.tflite")
    assert [item.index for item in done.wrong] == [last]
    assert {(row.kind, row.status, row.forecast, row.compiler) for row in done.differences} == {
        (kind, statuses.MAPPED, 1, 0),
        (kind, statuses.UNSPECIFIED, 0, 1),
    }


def test_statuses_alone_may_differ(cli: Cli, net: Path) -> None:
    counts = dict(placed(tflite.read(net / "net.tflite")).counts())
    counts["QUANTIZE", statuses.DATA_TYPE] = counts.pop(("QUANTIZE", statuses.UNSPECIFIED))
    (net / "good").unlink()
    good(net, printed(counts))
    answer = cli("compile", "net.tflite", "--compiler", "./good")
    assert answer.code == 0
    assert "as forecast" not in answer.out
    assert "has other statuses than the compiler" in answer.err


def test_log_file_is_read_where_no_table_is_printed(net: Path) -> None:
    counts = dict(placed(tflite.read(net / "net.tflite")).counts())
    body = (
        f"shutil.copyfile({str(net / 'hidden' / 'good.tflite')!r}, 'net_edgetpu.tflite')\n"
        f"pathlib.Path('net_edgetpu.log').write_text({table(counts)!r})\nprint('Edge TPU Compiler version 15.0.1')"
    )
    done = compile_for(tflite.read(net / "net.tflite"), compiler=str(program(net / "old", body)))
    assert done.made.counts == counts
    assert done.log.read_text("utf-8").startswith("Edge TPU Compiler version 15.0.1\n\nOperator")
    assert "forecasts are of compiler 16; this one is 15.0.1" in done.made.notes


def test_without_any_table_that_is_said(cli: Cli, net: Path) -> None:
    good(net, "done")
    answer = cli("compile", "net.tflite", "--compiler", "./good")
    assert answer.code == 0
    assert "the compiler printed no table of operators" in answer.err
    assert "this one is of unknown version" in answer.err


def test_nothing_mapped_is_told(cli: Cli, net: Path) -> None:
    (net / "hidden" / "same.tflite").write_bytes((net / "net.tflite").read_bytes())
    good(net, printed({("CONV_2D", statuses.UNSPECIFIED): 1}), "same")
    answer = cli("compile", "net.tflite", "--compiler", "./same")
    assert "compiled, but none of the" in answer.out
    assert "warning: the compiled file runs on the CPU alone" in answer.err


OPTIONS = {
    (): ["-s"],
    ("--multiple-subgraphs",): ["-s", "-a"],
    ("--min-runtime-version", "13"): ["-s", "--min_runtime_version", "13"],
    ("--time-limit", "2min"): ["-s", "--timeout_sec", "115"],
    ("--time-limit", "3s"): ["-s", "--timeout_sec", "1"],
    ("--time-limit", "1.5h", "--multiple-subgraphs"): ["-s", "-a", "--timeout_sec", "5395"],
}


@pytest.mark.parametrize("given", OPTIONS, ids=" ".join)
def test_options_reach_the_compiler(given: tuple[str, ...], cli: Cli, net: Path) -> None:
    text = (net / "good").read_text("utf-8") + f"pathlib.Path({str(net / 'seen')!r}).write_text(' '.join(arguments))\n"
    (net / "good").write_text(text, "utf-8")
    assert cli("compile", "net.tflite", "--compiler", "./good", *given).code == 0
    assert (net / "seen").read_text().split() == [*OPTIONS[given], "-o", ".", "net.tflite"]


def test_missing_compiler_forecasts_and_says_what_to_run(cli: Cli, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(net / "hidden"))
    before = listing(net)
    answer = cli("compile", "net.tflite", "--multiple-subgraphs")
    assert answer.code == CompilerMissing.exit_code != 0
    assert answer.out.startswith("forecast: 5 of 7 operators on the Edge TPU")
    assert "error: nothing was compiled: there is no edgetpu_compiler on the PATH" in answer.err
    assert "64-bit x86 Linux only (Debian package edgetpu-compiler" in answer.err
    assert answer.err.rstrip().endswith("there, run: edgetpu_compiler -s -a net.tflite")
    found = json.loads(cli("compile", "net.tflite", "--json").out)
    assert (found["file"], found["command"]) == (None, "edgetpu_compiler -s net.tflite")
    assert len(found["forecast"]["operators"]) == 7
    assert listing(net) == before


def test_compiler_is_found_on_the_path(cli: Cli, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (net / "good").rename(net / "hidden" / "edgetpu_compiler")
    monkeypatch.setenv("PATH", str(net / "hidden"), prepend=os.pathsep)
    assert cli("compile", "net.tflite").code == 0


FAILURES = {
    "own timer": (
        "print('Compilation timeout. This is usually caused by large activations.\\nCompilation failed! ')",
        "wrote no file: Compilation timeout. This is usually caused by large activations.; what it printed is in",
    ),
    "signal": (
        "print('so far'); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSEGV)",
        "crashed (SIGSEGV): so far",
    ),
    "signal below a shell": ("sys.exit(139)", "crashed (SIGSEGV); it printed nothing"),
    "status": ("print('ERROR: Failed to open file'); sys.exit(1)", "failed (exit status 1): Failed to open file; what"),
    "odd status": ("sys.exit(77)", "failed (exit status 77); it printed nothing"),
    "no file": (
        "print('Compilation failed: Model failed in Tflite interpreter. Please ensure.\\nCompilation failed! ')",
        "wrote no file: Model failed in Tflite interpreter. Please ensure.; what it printed is in",
    ),
    "internal": ("print('Internal compiler error. Aborting! ')", "wrote no file: Internal compiler error; what it"),
    "silent": ("pass", "wrote no file; it printed nothing"),
    "no model": (
        "pathlib.Path('net_edgetpu.tflite').write_bytes(b'TFL3'); print('fine')",
        "wrote a file that cannot be read back: ",
    ),
    "empty": ("pathlib.Path('net_edgetpu.tflite').touch(); print('fine')", "wrote a file that cannot be read back: "),
    "half": (
        "data = pathlib.Path(name).read_bytes(); pathlib.Path('net_edgetpu.tflite').write_bytes(data[:len(data) // 2])",
        "wrote a file that cannot be read back: ",
    ),
    "folder": ("pathlib.Path('net_edgetpu.tflite').mkdir()", "wrote no file; it printed nothing"),
    "flood": ("while True: sys.stdout.write('x' * 1000000 + chr(10))", "printed more than 32 MiB and was stopped: xxx"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_failures_end_in_one_line_and_leave_no_file(what: str, cli: Cli, net: Path) -> None:
    body, said = FAILURES[what]
    program(net / "bad", body)
    before = listing(net)
    answer = cli("compile", "net.tflite", "--compiler", "./bad")
    assert (answer.code, answer.out) == (CompilerFailure.exit_code, "")
    assert answer.err.startswith("error: bad ")
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert len(answer.err) < 500
    kept = listing(net) - before
    if "it printed nothing" in answer.err:
        assert kept == set()
    else:
        assert kept == {"net_edgetpu.failed.log"}
        assert f"what it printed is in {net / 'net_edgetpu.failed.log'}".replace(f"{net}/", "") in answer.err
        assert (net / "net_edgetpu.failed.log").read_text("utf-8").strip()


def test_program_that_cannot_be_started(cli: Cli, net: Path) -> None:
    (net / "bad").write_bytes(b"\x7fELF of another machine")
    (net / "bad").chmod(0o755)
    said = refusal(cli("compile", "net.tflite", "--compiler", "./bad"), CompilerFailure.exit_code)
    assert said == f"error: {net / 'bad'}: cannot be started: Exec format error: is it for this processor?\n"


def test_damaged_package_and_another_network_are_refused(cli: Cli, net: Path) -> None:
    model = integers()
    mapped = [item.index for item in placed(model).mapped]
    tflite.write(as_compiled(model, mapped, package()[:60]), net / "hidden" / "damaged.tflite")
    other = as_compiled(model, mapped)
    graph = other.graph
    tensors = {n: replace(t, shape=(1, 7)) if n == graph.outputs[0] else t for n, t in graph.tensors.items()}
    tflite.write(Model((replace(graph, tensors=tensors),)), net / "hidden" / "other.tflite")
    for name, said in (("damaged", "cannot be read back: edgetpu-custom-op"), ("other", "with other outputs than the")):
        good(net, "done", name)
        answer = cli("compile", "net.tflite", "--compiler", f"./{name}")
        assert answer.code == CompilerFailure.exit_code
        assert said in answer.err
        assert not (net / "net_edgetpu.tflite").exists()


def test_what_was_compiled_before_survives_a_failure(cli: Cli, net: Path) -> None:
    assert cli("compile", "net.tflite", "--compiler", "./good").code == 0
    before = {name: (net / name).read_bytes() for name in ("net_edgetpu.tflite", "net_edgetpu.log")}
    program(net / "bad", "print('Internal compiler error. Aborting! ')")
    assert cli("compile", "net.tflite", "--compiler", "./bad").code == CompilerFailure.exit_code
    assert before == {name: (net / name).read_bytes() for name in before}
    assert (net / "net_edgetpu.failed.log").exists()
    assert cli("compile", "net.tflite", "--compiler", "./good").code == 0
    assert not (net / "net_edgetpu.failed.log").exists()


def is_alive(process: int) -> bool:
    """Whether it runs: one that was killed may wait for its parent to look at it."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def has_ended(process: int) -> bool:
    """Whether it ends, now or soon: a busy machine takes its time to end what was killed."""
    end = time.monotonic() + 30
    while is_alive(process) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(process)


_WITH_CHILD = """
echo 'Edge TPU Compiler version 16'
sleep 600 &
echo "$! $PWD" > {0}
wait
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux tells of them")
def test_children_of_a_compiler_that_hangs_end_with_it(cli: Cli, net: Path) -> None:
    shell_program(net / "bad", _WITH_CHILD.format(net / "told"))
    answer = cli("compile", "net.tflite", "--compiler", "./bad", "--time-limit", "4s")
    assert refusal(answer, CompilerFailure.exit_code) == (
        "error: bad took more than 4 s and was stopped: Edge TPU Compiler version 16; what it printed is in "
        "net_edgetpu.failed.log\n"
    )
    child, folder = (net / "told").read_text().split()
    assert has_ended(int(child))
    assert not Path(folder).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux tells of them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_ends_the_compiler_and_its_children(number: signal.Signals, code: int, net: Path) -> None:
    shell_program(net / "bad", _WITH_CHILD.format(net / "told"))
    before = listing(net) | {"told"}
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in a background
    command = [sys.executable, "-c", f"{heeding}; from tersor.cli.main import main; main()"]
    tersor = subprocess.Popen([*command, "compile", "net.tflite", "--compiler", "./bad"], stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not (net / "told").exists() or not (net / "told").read_text().count(" "):
        assert time.monotonic() < end
        time.sleep(0.05)
    tersor.send_signal(number)
    tersor.communicate(timeout=60)
    child, folder = (net / "told").read_text().split()
    assert tersor.returncode == code
    assert has_ended(int(child))
    assert not Path(folder).exists()
    assert listing(net) == before


def refusal(answer: Answer, code: int) -> str:
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.count("\n") == 1
    return answer.err


def test_float_and_compiled_models_are_refused(cli: Cli, net: Path) -> None:
    tflite.write(classifier(), net / "float.tflite")
    said = refusal(cli("compile", "float.tflite", "--compiler", "./good"), 3)
    assert "its activations are float" in said
    assert "first tersor quantize float.tflite --as int8 --data DATA, then tersor compile float.int8.tflite" in said
    keras = refusal(cli("compile", DEMO.with_suffix(".keras"), "--compiler", "./good"), 3)
    assert f"first tersor quantize {DEMO.with_suffix('.keras')} --as int8" in keras
    assert cli("compile", "net.tflite", "--compiler", "./good").code == 0
    again = refusal(cli("compile", "net_edgetpu.tflite", "--compiler", "./good"), 3)
    assert "net_edgetpu.tflite: already compiled for the Edge TPU; give the model that went into" in again
    assert "no such file" in refusal(cli("compile", "absent.tflite"), 3)
    with pytest.raises(CompilerFailure):  # the way in from Python
        compile_for(load_finished(net / "net.tflite"), compiler=str(program(net / "bad", "pass")))


MISUSES = {
    ("--target", "toaster"): "unknown target 'toaster'",
    ("--compiler", "./absent"): "compiler ./absent: there is no such program, or it is not executable",
    ("--compiler", "net.tflite"): "compiler net.tflite: there is no such program, or it is not executable",
    ("--compiler", "./good", "--time-limit", "10"): "--time-limit '10': give it as 10ms, 90s or 10min",
    ("--compiler", "./good", "--time-limit", "0s"): "--time-limit '0s': give it as 10ms, 90s or 10min",
    ("--compiler", "./good", "--time-limit", "-5s"): "--time-limit '-5s': give it as 10ms, 90s or 10min",
    ("--compiler", "./good", "-o", "net.bin"): "output net.bin: a compiled model's name ends in .tflite",
    ("--compiler", "./good", "--min-runtime-version", "0"): "Invalid value for '--min-runtime-version'",
}


@pytest.mark.parametrize("given", MISUSES, ids=" ".join)
def test_misuses(given: tuple[str, ...], cli: Cli, net: Path) -> None:
    before = listing(net)
    assert MISUSES[given] in refusal(cli("compile", "net.tflite", *given), 2)
    assert listing(net) == before


def test_output_is_not_the_model_and_can_be_written(cli: Cli, net: Path) -> None:
    said = refusal(cli("compile", "net.tflite", "--compiler", "./good", "-o", "./net.tflite"), 8)
    assert "is the model itself" in said
    said = refusal(cli("compile", "net.tflite", "--compiler", "./good", "-o", "good/x.tflite"), 8)
    assert "is a file, not a folder" in said


def test_library_refuses_what_the_target_has_not(net: Path) -> None:
    model = tflite.read(net / "net.tflite")
    with pytest.raises(RecipeError, match="has no option speed; its options: min_runtime_version, multiple_subgraphs"):
        compile_for(model, speed=3)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match="give a time above 0"):
            compile_for(model, time_limit=seconds)


def test_changed_model_is_compiled_and_not_its_file(net: Path) -> None:
    """A graph that was edited is no longer the file that it came from."""
    model = tflite.read(net / "net.tflite")
    changed = model.with_graph(replace(model.graph, name="changed"))
    program(net / "look", f"shutil.copyfile(name, {str(net / 'seen.tflite')!r})\n{(net / 'good').read_text()}")
    done = compile_for(changed, compiler="./look")
    assert tflite.read(net / "seen.tflite").graph.name == "changed"
    assert done.path == Path("model_edgetpu.tflite")


@pytest.mark.parametrize("name", ["-odd.tflite", "my net.int8.tflite", "nét.tflite"])
def test_names_that_are_hard_for_programs(name: str, cli: Cli, net: Path) -> None:
    (net / name).write_bytes((net / "net.tflite").read_bytes())
    assert cli("compile", f"./{name}", "--compiler", "./good").code == 0
    assert f"{name.removesuffix('.tflite')}_edgetpu.tflite" in listing(net)


def test_reasons() -> None:
    assert reason("ERROR: a\nCompilation failed: b.\nCompilation failed! ") == "b."
    assert reason("line\n\nlast \n") == "last"
    assert reason(" \n") == ""


def test_was_mapped() -> None:
    model = integers()
    mapped = [item.index for item in placed(model).mapped]
    found = was_mapped(model.graph, as_compiled(model, mapped).graph)
    assert [place for place, gone in enumerate(found) if gone] == mapped
    assert all(
        model.graph.tensors[n].dtype in (DType.INT8, DType.FLOAT32) for op in model.graph.ops for n in op.outputs
    )


REAL = ["conv_firstTest", "conv_N40_63406080", "conv_model_size_channel232", "ASR_Model"]


@pytest.mark.parametrize("name", REAL)
def test_real_compiled_files_and_logs(name: str, cli: Cli, place: Path) -> None:
    """A compiler that prints a real log and writes the real compiled file."""
    model, compiled = shared_file(f"{PAIRS}/{name}.tflite"), shared_file(f"{PAIRS}/{name}_edgetpu.tflite")
    log = shared_file(f"{PAIRS}/{name}_edgetpu.log").read_text("utf-8")
    program(place / "real", f"shutil.copyfile({str(compiled)!r}, {compiled.name!r})\nprint({log!r})")
    answer = cli("compile", model, "--compiler", "./real", "-o", "out", "--json")
    found = json.loads(answer.out)
    assert answer.code == 0, answer.err
    assert found["differences"] == []
    assert all(item["on"] == item["forecast"] for item in found["operators"])
    assert (place / "out" / compiled.name).read_bytes() == compiled.read_bytes()
    assert found["resources"] == json.loads(cli("place", compiled, "--target", "edge_tpu", "--json").out)["resources"]
    said = cli("compile", model, "--compiler", "./real", "-o", "out")
    assert "as forecast" in said.out
    assert ("forecasts are of compiler 16; this one is 2.0.291256449" in said.err) == (name == "ASR_Model")


def test_any_target_can_have_a_compiler(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with other options, another suffix, another custom operator, and a log of its own."""
    model = tflite.read(net / "net.tflite")
    asked: dict[str, object] = {}

    def compile_it(
        source: Path, folder: Path, *, program: str | None, time_limit: float | None, system: str = "plain"
    ) -> Compiled:
        asked.update(program=program, time_limit=time_limit, system=system, name=source.name)
        made = as_compiled(tflite.read(source), [1, 2, 3, 4, 5])
        ops = tuple(replace(op, custom_code="ethos-u") if op.custom_code == CODE else op for op in made.graph.ops)
        tflite.write(Model((replace(made.graph, ops=ops),)), folder / "made.tflite")
        return Compiled(folder / "made.tflite", "all is well\n", ("vela", source.name))

    def forecast(given: Model) -> Placement:
        return replace(edge_tpu.place(given), target="ethos_u", device="Ethos-U")

    target = SimpleNamespace(
        NAME="ethos_u", FLAVOUR="int8", OPTIONS=frozenset(), SUFFIX="_vela", place=forecast, compile=compile_it
    )
    monkeypatch.setattr("tersor.registry.plugin", lambda *_: target)
    done = compile_for(model, "ethos_u", time_limit=7, system="embedded")
    assert asked == {"program": None, "time_limit": 7, "system": "embedded", "name": "net.tflite"}
    assert done.path.name == "net_vela.tflite"
    assert done.log.read_text("utf-8") == "all is well\n"
    assert done.mapped == (False, True, True, True, True, True, False)
    assert (done.pieces, done.wrong, done.differences) == (1, (), ())
    with pytest.raises(RecipeError, match="compiling for ethos_u has no option speed; its options: system"):
        compile_for(model, "ethos_u", speed=1)
    with pytest.raises(UnsupportedError, match="already compiled for an Ethos-U"):
        compile_for(tflite.read(done.path), "ethos_u")


def test_target_without_a_compiler(cli: Cli, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = registry.plugin
    plain = SimpleNamespace(NAME="plain")
    monkeypatch.setattr("tersor.registry.plugin", lambda rib, name: plain if name == "plain" else plugin(rib, name))
    said = refusal(cli("compile", "net.tflite", "--target", "plain"), RecipeError.exit_code)
    assert "nothing is compiled for target plain; targets with a compiler: edge_tpu" in said
