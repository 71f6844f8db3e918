"""The command line: what each command prints and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Cli
from small_nets import DEMO, DEMO_DATA, classifier, dense, images, random, through_file, unknown_operator
from tersor import __version__, registry
from tersor.cli import quantize
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.recipe import presets
from tersor.stages.optimize import optimize

COMMANDS = ("optimize", "quantize", "evaluate", "compare", "benchmark", "run", "inspect", "params", "export")


def quantize_net(*more: str) -> tuple[str, ...]:
    return ("quantize", "net.tflite", "--data", "x.npy", "--samples", "12", *more)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str, cli: Cli) -> None:
    answer = cli(command, "--help")
    assert answer.code == 0
    assert f"tersor {command}" in answer.out


def test_called_alone_prints_the_help_and_the_commands(cli: Cli) -> None:
    answer = cli()
    assert answer.code == 2
    assert all(command in answer.out for command in COMMANDS)


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"tersor {__version__}\n"


# quantize


def test_quantize_writes_the_file_beside_the_model_and_says_what_it_cost(cli: Cli, place: Path) -> None:
    answer = cli(*quantize_net())
    assert answer.code == 0
    made = tflite.read(place / "net.int8.tflite").graph
    assert made.tensors["x"].dtype is made.tensors["scores"].dtype is DType.INT8
    titles, reference, product = answer.out.splitlines()
    assert titles.split() == ["flavour", "size", "agree", "SQNR"]
    assert reference.startswith("float ")
    assert product.startswith("int8 ")
    assert float(product.split()[-1]) > 30
    for note in ("calibrated on 12 samples", "measured on 12 other samples", "xnnpack and builtin", "wrote net.int8"):
        assert note in answer.err


def test_measuring_on_the_calibration_samples_is_said_loudly(cli: Cli) -> None:
    answer = cli("quantize", "net.tflite", "--data", "x.npy")
    assert "the SAME samples" in answer.err


def test_all_flavours_go_into_a_folder(cli: Cli, place: Path) -> None:
    answer = cli(*quantize_net("--as", "all", "--output", "out"))
    assert answer.code == 0, answer.err
    assert {path.name for path in (place / "out").iterdir()} == {f"net.{name}.tflite" for name in presets()}
    assert [line.split()[0] for line in answer.out.splitlines()] == ["flavour", "float", *presets()]


def test_several_flavours_by_comma_and_repetition(cli: Cli, place: Path) -> None:
    assert cli(*quantize_net("--as", "float16,dynamic", "--as", "int16x8")).code == 0
    assert {path.name for path in place.glob("net.*.tflite")} == {
        "net.float16.tflite",
        "net.dynamic.tflite",
        "net.int16x8.tflite",
    }


def test_flavours_that_need_no_data(cli: Cli, place: Path) -> None:
    answer = cli("quantize", "net.tflite", "--as", "float16,weight_only", "--output", "out")
    assert answer.code == 0
    assert len(list((place / "out").iterdir())) == 2


def test_recipe_file_names_its_flavour(cli: Cli, place: Path) -> None:
    (place / "mine.toml").write_text('activations = "int8"\nweights = "int8"\ncompute = "integer"\n')
    assert cli(*quantize_net("--as", "mine.toml")).code == 0
    assert (place / "net.mine.tflite").exists()


def test_quantize_as_json(cli: Cli, place: Path) -> None:
    np.savez(place / "xy.npz", x=images(30), y=np.arange(30) % 5)
    answer = cli("quantize", "net.tflite", "--data", "xy.npz", "--samples", "12", "--as", "int8,float16", "--json")
    outcome = json.loads(answer.out)
    assert [product["name"] for product in outcome["products"]] == ["int8", "float16"]
    assert outcome["calibration_samples"] == 12
    assert outcome["evaluation_samples"] == 18
    assert outcome["disjoint"] is True
    assert outcome["float"]["accuracy"]["metric"] == "top1"
    low, high = outcome["float"]["accuracy"]["interval"]
    assert low <= outcome["float"]["accuracy"]["value"] <= high
    for product in outcome["products"]:
        assert Path(product["file"]).stat().st_size == product["size_bytes"]
        assert [seen["kernels"] for seen in product["verified"]] == ["xnnpack", "builtin"]


def test_evaluation_data_of_its_own(cli: Cli, place: Path) -> None:
    np.savez(place / "test.npz", x=images(9, seed=1), y=np.zeros(9))
    outcome = json.loads(cli(*quantize_net("--eval-data", "test.npz", "--json")).out)
    assert (outcome["calibration_samples"], outcome["evaluation_samples"]) == (12, 9)


def test_evaluation_data_from_a_function(cli: Cli, place: Path) -> None:
    (place / "feed_of_cli.py").write_text(
        "import numpy\n\ndef pairs():\n    for n in range(7):\n        yield numpy.full((6, 6, 3), n / 7.0), n % 5\n"
    )
    outcome = json.loads(cli(*quantize_net("--eval-data", "feed_of_cli:pairs", "--json")).out)
    assert outcome["evaluation_samples"] == 7


def test_metric_function(cli: Cli, place: Path) -> None:
    (place / "metric_of_cli.py").write_text("def largest(output, label):\n    return output.max()\n")
    for more in ([], ["--samples", "24"]):
        outcome = json.loads(cli(*quantize_net("--metric", "metric_of_cli:largest", "--json", *more)).out)
        assert 0.2 < outcome["float"]["accuracy"]["value"] <= 1


def test_explain_prints_every_operator_with_its_reason(cli: Cli) -> None:
    answer = cli(*quantize_net("--explain"))
    assert "plan int8" in answer.out
    for op in optimize(classifier()).graph.ops:
        assert f"  {op.kind} {op.name}: integer  <- int8 by recipe int8" in answer.out
    assert "door x: int8 scale" in answer.out


def test_float_islands_are_a_warning_by_name(cli: Cli, place: Path) -> None:
    tflite.write(unknown_operator(), place / "wave.tflite")
    np.save(place / "angles.npy", np.random.default_rng(0).normal(size=(12, 4)))
    answer = cli("quantize", "wave.tflite", "--data", "angles.npy", "--as", "int8_float_io")
    assert answer.code == 0
    assert "warning: int8_float_io: 1 of 2 operators stay in float: COS 'wave' (LiteRT has no int" in answer.err
    assert answer.out.splitlines()[0].split()[-1] == "float"
    assert answer.out.splitlines()[2].split()[-1] == "1"


def test_options_reach_the_recipe(cli: Cli, place: Path) -> None:
    more = ("--io", "float32", "--per-tensor", "--keep-float", "SOFTMAX", "--observer", "moving_average", "--explain")
    answer = cli(*quantize_net(*more))
    assert answer.code == 0
    graph = tflite.read(place / "net.int8.tflite").graph
    assert graph.tensors["x"].dtype is DType.FLOAT32
    assert [op.kind for op in graph.ops][-2:] == ["DEQUANTIZE", "SOFTMAX"]
    assert all(t.quant is None or len(t.quant.scales) == 1 for t in graph.tensors.values())
    assert "moving_average range" in answer.out


def test_normalization_is_applied_before_calibration(cli: Cli) -> None:
    def scale_of_input(*more: str) -> float:
        text = cli(*quantize_net("--explain", *more)).out
        (line,) = (line for line in text.splitlines() if "door x: int8 scale" in line)
        return float(line.split("scale ")[1].split()[0])

    plain = scale_of_input()
    assert scale_of_input("--rescale", "1/4") == pytest.approx(plain / 4, rel=1e-4)
    assert scale_of_input("--mean", "0,0,0", "--std", "2") == pytest.approx(plain / 2, rel=1e-4)


def test_raw_pixels_without_normalization_are_noted(cli: Cli, place: Path) -> None:
    np.save(place / "x.npy", (images(24) * 100 + 100).astype(np.uint8))
    assert "0..255" in cli(*quantize_net()).err
    assert "0..255" not in cli(*quantize_net("--rescale", "1/255")).err


def test_latency_is_measured_for_every_row(cli: Cli) -> None:
    outcome = json.loads(cli(*quantize_net("--latency", "--json")).out)
    assert outcome["float"]["latency_ms"] > 0
    assert outcome["products"][0]["latency_ratio"] > 0


def test_equal_calls_give_equal_bytes(cli: Cli, place: Path) -> None:
    assert cli(*quantize_net("--output", "a/net.tflite")).code == 0
    assert cli(*quantize_net("--output", "b/net.tflite")).code == 0
    assert (place / "a/net.tflite").read_bytes() == (place / "b/net.tflite").read_bytes()


def test_unicode_and_spaces_in_paths(cli: Cli, place: Path) -> None:
    folder = place / "Größe [bold] 模型"
    folder.mkdir()
    (place / "net.tflite").rename(folder / "netz é.tflite")
    (place / "x.npy").rename(folder / "daten ü.npy")
    answer = cli(
        "quantize", folder / "netz é.tflite", "--data", folder / "daten ü.npy", "--output", folder / "ö.tflite"
    )
    assert answer.code == 0
    assert "ö.tflite" in answer.err
    assert cli("inspect", folder / "ö.tflite").code == 0


# evaluate, run, inspect


@pytest.fixture
def labelled(place: Path, cli: Cli) -> Path:
    """`xy.npz`: samples with the float model's own answers as labels, the last of ten wrong."""
    answer = json.loads(cli("run", "net.tflite", "x.npy", "--json").out)
    labels = np.array([np.argmax(item["scores"]) for item in answer])
    labels[9] = (labels[9] + 1) % 5
    np.savez(place / "xy.npz", x=np.load(place / "x.npy")[:10], y=labels[:10])
    return place / "xy.npz"


def test_evaluate_prints_score_interval_samples_and_kernels(cli: Cli, labelled: Path) -> None:
    for kernels in ("xnnpack", "builtin"):
        answer = cli("evaluate", "net.tflite", "--data", labelled, "--kernels", kernels)
        assert answer.out == f"top1 90.00 % (95 %: 59.58..98.21) on 10 samples, {kernels} kernels\n"


def test_evaluate_quantized_file_as_json(cli: Cli, labelled: Path) -> None:
    assert cli(*quantize_net("--as", "uint8")).code == 0
    score = json.loads(cli("evaluate", "net.uint8.tflite", "--data", labelled, "--metric", "top5", "--json").out)
    assert score["metric"] == "top5"
    assert score["value"] == 1.0
    assert score["samples"] == 10


def test_run_prints_the_largest_entries_of_each_sample(cli: Cli) -> None:
    lines = cli("run", "net.tflite", "x.npy", "--top", "2").out.splitlines()
    assert len(lines) == 24
    assert lines[0].startswith("0 scores [1, 5]: [")
    assert lines[0].endswith(" ...")
    assert lines[0].count(",") == 2


@pytest.mark.parametrize("flavour", ["float32", "int8", "int16x8", "dynamic", "float16"])
def test_any_batch_size_on_any_file(flavour: str, cli: Cli, place: Path) -> None:
    assert cli(*quantize_net("--as", flavour)).code == 0
    path = f"net.{flavour}.tflite"
    for batch in ("1", "5"):
        assert cli("run", path, "x.npy", "--batch", batch, "--output", f"{batch}.npz").code == 0
    with np.load(place / "1.npz") as one, np.load(place / "5.npz") as five:
        assert one["scores"].shape == (24, 5)
        np.testing.assert_allclose(one["scores"], five["scores"], atol=0.01)


def test_batch_that_the_model_does_not_keep_apart_is_refused(cli: Cli, place: Path) -> None:
    builder = Builder()
    x = builder.input("x", [1, 4])
    tflite.write(builder.model([builder.op("SUM", [x, builder.constant("axis", [0])], [4])]), place / "sum.tflite")
    np.save(place / "x.npy", random([6, 4]))
    answer = cli("run", "sum.tflite", "x.npy", "--batch", "3")
    assert answer.code == 3
    assert "use --batch 1" in answer.err
    assert cli("run", "sum.tflite", "x.npy").code == 0


def test_outputs_that_are_no_floats_and_scalars_are_printed_and_saved(cli: Cli, place: Path) -> None:
    builder = Builder()
    x = builder.input("x", [4])
    largest = builder.op("ARG_MAX", [x, builder.constant("axis", 0)], [], {"output_type": 4}, dtype=DType.INT64)
    positive = builder.op("GREATER", [x, builder.constant("zero", 0.0)], [4], dtype=DType.BOOL)
    tflite.write(builder.model([largest, positive]), place / "odd.tflite")
    np.save(place / "x.npy", np.array([[1, 2, 3, -4], [9, 2, 3, 4]], np.float32))
    answer = cli("run", "odd.tflite", "x.npy", "--output", "o.npz")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0] == "0 arg_max []: [0] 2"
    assert "False" in answer.out.splitlines()[1]
    with np.load(place / "o.npz") as saved:
        np.testing.assert_array_equal(saved["arg_max"], [2, 0])


def test_run_takes_images_and_resizes_them(cli: Cli, place: Path) -> None:
    for name, size in (("a.png", (6, 6)), ("b.jpg", (30, 20))):
        Image.new("RGB", size, (200, 100, 50)).save(place / name)
    answer = cli("run", "net.tflite", "a.png", "b.jpg", "--rescale", "1/255")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 2


def test_run_without_samples_and_with_output(cli: Cli, place: Path) -> None:
    (place / "none_of_cli.py").write_text("def empty():\n    return []\n")
    answer = cli("run", "net.tflite", "none_of_cli:empty", "--output", "o.npz")
    assert answer.code == 4
    assert "no samples" in answer.err
    assert not (place / "o.npz").exists()


def test_inspect_prints_what_the_model_consists_of(cli: Cli) -> None:
    out = cli("inspect", "net.tflite").out
    for part in ("x: float32[1,6,6,3]", "scores: float32[1,5]", "4: 1 CONV_2D", "1 SOFTMAX", "multiply-accumulates"):
        assert part in out


def test_inspect_as_json(cli: Cli, place: Path) -> None:
    analysis = json.loads(cli("inspect", "net.tflite", "--json").out)
    conv = 6 * 6 * 8 * 3 * 3 * 3
    assert analysis["macs"] == conv + 8 * 5
    assert analysis["kinds"] == {"CONV_2D": 1, "MEAN": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert analysis["constant_bytes"] == 4 * (8 * 27 + 8 + 2 + 40 + 5)
    assert analysis["peak_activation_bytes"] == 4 * (6 * 6 * 3 + 6 * 6 * 8)
    assert analysis["file_bytes"] == (place / "net.tflite").stat().st_size
    assert analysis["quantization"] == "none"


def test_inspect_names_the_quantization(cli: Cli) -> None:
    words = {
        "int8": "int8 activations",
        "int16x8": "int16 activations",
        "float16": "weights in float16",
        "float32": "none",
    }
    for flavour, text in words.items():
        assert cli(*quantize_net("--as", flavour)).code == 0
        analysis = json.loads(cli("inspect", f"net.{flavour}.tflite", "--json").out)
        assert analysis["quantization"].startswith(text)


def test_inspect_text_has_a_line_per_operator(cli: Cli) -> None:
    out = cli("inspect", "net.tflite", "--text").out
    assert "  scores: float32[1,5] = SOFTMAX v1 (dense) {beta=1.0}\n" in out
    assert "  input x: float32[1,6,6,3]\n" in out


def test_inspect_operators_lists_work_and_weights(cli: Cli) -> None:
    out = cli("inspect", "net.tflite", "--operators").out
    (line,) = (line for line in out.splitlines() if line.startswith("CONV_2D"))
    assert line.split()[2:] == ["7,776", "896", "conv"]


@pytest.mark.parametrize("name", ["[/x]", "[/x] \udce9"], ids=["markup", "bytes"])
def test_names_with_markup_and_bytes_that_are_not_utf8_are_printed(name: str, cli: Cli, place: Path) -> None:
    builder = Builder()
    x = builder.input(name, [1, 4])
    tflite.write(builder.model([dense(builder, x, 2, name="[bold]y[/bold]")]), place / "odd.tflite")
    for more in ([], ["--operators"], ["--text"], ["--json"]):
        answer = cli("inspect", "odd.tflite", *more)
        assert answer.code == 0
        assert "[/x]" in answer.out
        assert "[bold]y" in answer.out


def test_names_with_markup_are_quantized_and_explained(cli: Cli, place: Path) -> None:
    builder = Builder()
    x = builder.input("[/x]", [1, 4])
    tflite.write(builder.model([dense(builder, x, 2, name="[bold]y[/bold]")]), place / "odd.tflite")
    np.save(place / "x.npy", random([12, 4]))
    answer = cli("quantize", "odd.tflite", "--data", "x.npy", "--explain", "--as", "all", "--output", "out")
    assert answer.code == 0
    assert "FULLY_CONNECTED [bold]y[/bold]: integer" in answer.out


def test_open_batch_dimension_is_shown_and_fed(cli: Cli, place: Path) -> None:
    graph = classifier().graph
    wider = replace(graph.tensors["x"], open_shape=(-1, 6, 6, 3))
    tflite.write(through_file(classifier().with_graph(graph.edit(tensors=[wider]))), place / "open.tflite")
    assert "float32[?,6,6,3]" in cli("inspect", "open.tflite").out
    assert cli("quantize", "open.tflite", "--data", "x.npy").code == 0


# As a process


def tersor(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    code = "from tersor.cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)  # type: ignore[call-overload, no-any-return]


def test_every_flavour_of_the_demo_is_as_accurate_as_float(place: Path) -> None:
    done = tersor(
        *("quantize", DEMO, "--data", DEMO_DATA, "--rescale", "1/255", "--as", "all", "--output", place, "--json")
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["float"]["accuracy"]["value"] > 0.9
    for product in outcome["products"]:
        small = product["name"] == "int8_w4"
        assert product["agreement"] > (0.85 if small else 0.96), product["name"]
        assert product["sqnr_db"] is None or product["sqnr_db"] > (5 if small else 20)
    size = {product["name"]: product["size_bytes"] for product in outcome["products"]}
    assert size["int8_w4"] < size["int8"] < size["float16"] < outcome["float"]["size_bytes"]


def test_process_ends_with_the_exit_code_and_no_traceback(place: Path) -> None:
    done = tersor("inspect", "missing.tflite", cwd=place)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: missing.tflite: no such file\n"


def test_reader_that_goes_away_is_no_crash(place: Path) -> None:
    code = "from tersor.cli.main import main; main()"
    arguments = [sys.executable, "-c", code, "inspect", str(DEMO), "--text"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert b"Traceback" not in err
    assert b"Exception" not in err


def test_terminal_without_unicode_shows_names_escaped(place: Path) -> None:
    builder = Builder()
    tflite.write(builder.model([dense(builder, builder.input("größe", [1, 2]), 2)]), place / "odd.tflite")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = tersor("inspect", "odd.tflite", "--text", cwd=place, env=environment)
    assert done.returncode == 0, done.stderr
    assert "gr\\xf6\\xdfe" in done.stdout


def test_help_names_every_algorithm_and_observer() -> None:
    text = Path(quantize.__file__).read_text()
    for rib in ("algorithms", "observers"):
        assert [name for name in registry.names(rib) if name not in text] == []
