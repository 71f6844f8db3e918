"""Reports say what was measured, in words that hold, and take names of models for nothing but text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from conftest import Cli
from report_documents import HOSTILE, diagnosis, document
from small_nets import classifier, images
from tersor.errors import FormatError
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.quant import QuantParams
from tersor.numerics.histogram import Histogram
from tersor.report import summary, words
from tersor.report.columns import columns_of
from tersor.report.document import Diagnosis, Document, Errors, Finding, Layer, document_of, read_document
from tersor.report.files import write_files
from tersor.report.layers import layer_part
from tersor.report.markdown import code, markdown, plain, table
from tersor.report.model_explorer import MEASURES, node_data
from tersor.report.scale import Axis, labels, positive_axis, signed_axis, ticks
from tersor.report.tables import candidates_csv, layers_csv
from tersor.stages.debug.distributions import BARS, of_counts
from tersor.stages.search.reasons import NOT_COUNTED

HTML_PACKAGES = ("jinja2", "altair", "vl_convert")


@pytest.fixture(scope="module")
def page() -> str:
    """The page of a document full of hostile names."""
    for package in HTML_PACKAGES:
        pytest.importorskip(package)
    from tersor.report.page import render

    return render(document_of(hostile()))


def hostile() -> dict[str, Any]:
    """A document in which all that comes from a model or its file is hostile."""
    found = document(HOSTILE, model=f"models/{HOSTILE}", notes=[HOSTILE], command=f"tersor optimize {HOSTILE}")
    found["candidates"][1] |= {"name": HOSTILE, "file": HOSTILE, "recipe": HOSTILE, "out": HOSTILE}
    found["candidates"][1]["left_in_float"] = [{"op": HOSTILE, "name": HOSTILE, "reason": HOSTILE}]
    found["diagnoses"][HOSTILE] = diagnosis(HOSTILE)
    found["conditions"]["versions"] = {HOSTILE: HOSTILE}
    return found


class Elements(HTMLParser):
    """What a page consists of: its elements with their attributes, and its text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text.append(data)


# ---- the document


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(document()))
    found = read_document(tmp_path)
    assert found == read_document(tmp_path / "report.json")
    assert found.picked is not None
    assert found.picked.name == "int8"
    assert [found.role(item) for item in found.candidates] == ["front", "other", "pick", "front"]
    assert found.diagnoses["int8"].operators[1].own is None
    assert found.diagnoses["int8"].operators[0].blamed.ac_sqnr_db == 8.5


def _without(found: dict[str, Any]) -> None:
    del found["candidates"][1]["size_bytes"]


def _text_for_number(found: dict[str, Any]) -> None:
    found["candidates"][1]["size_bytes"] = "1 MB"


def _long_interval(found: dict[str, Any]) -> None:
    found["float"]["accuracy_metric"]["interval"] = [1, 2, 3]


def _boolean_for_number(found: dict[str, Any]) -> None:
    found["conditions"]["threads"] = True


def _object_for_list(found: dict[str, Any]) -> None:
    found["reasons"] = {}


def _infinite(found: dict[str, Any]) -> None:
    found["candidates"][1]["latency_ms"] = 1e400


def _no_size(found: dict[str, Any]) -> None:
    found["candidates"][1]["size_ratio"] = 0.0


def _no_bars(found: dict[str, Any]) -> None:
    found["diagnoses"]["int8"]["operators"][0]["weights"]["counts"] = []


def _other_version(found: dict[str, Any]) -> None:
    found["schema_version"] = 99


def _layer_is_none(found: dict[str, Any]) -> None:
    found["diagnoses"]["int8"]["operators"][0] = None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without, r"candidates\[1\]: 'size_bytes' is missing"),
        (_text_for_number, r"candidates\[1\]\.size_bytes: a whole number is expected, found '1 MB'"),
        (_long_interval, r"accuracy_metric\.interval: a list of 2 is expected"),
        (_boolean_for_number, r"conditions\.threads: a whole number is expected, found True"),
        (_object_for_list, r"reasons: a list is expected, found \{\}"),
        (_infinite, r"candidates\[1\]\.latency_ms: a finite number is expected, found inf"),
        (_no_size, r"report: dynamic: size_ratio is 0\.0, which nothing measures"),
        (_no_bars, r"layer 'conv_1' has a histogram without counts or width"),
        (_other_version, r"no report of schema_version 1 \(found 99\)"),
        (_layer_is_none, r"operators\[0\]: an object is expected, found None"),
    ],
)
def test_a_spoilt_document_is_refused_with_the_place(spoil: Callable[[dict[str, Any]], None], said: str) -> None:
    found = document()
    spoil(found)
    with pytest.raises(FormatError, match=said):
        document_of(found)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "NaN", '{"schema_version": 1}', "[" * 100_000])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(FormatError, match=r"report\.json: "):
        read_document(tmp_path)


# ---- words


@pytest.mark.parametrize(
    ("ratio", "smaller", "faster"),
    [
        (0.25, "4 times smaller", "4 times faster"),
        (0.95, "1.1 times smaller", "5 % faster"),
        (1.0, "as large as before", "as fast as before"),
        (1.06, "1.1 times larger", "6 % slower"),
        (33.0, "33 times larger", "33 times slower"),
    ],
)
def test_ratios_in_words(ratio: float, smaller: str, faster: str) -> None:
    assert (words.times_smaller(ratio), words.times_faster(ratio)) == (smaller, faster)


def test_a_share_is_called_whole_only_if_it_is() -> None:
    assert words.percent(0.99999) == f"99.9{words.PERCENT}"
    assert words.percent(1.0) == f"100.0{words.PERCENT}"


def changed(value: float, low: float, high: float, *, significant: bool, metric: str = "top1") -> Document:
    found = document()
    pick = found["candidates"][2]
    pick["accuracy_change"] = {"value": value, "interval": [low, high], "significant": significant}
    pick["accuracy_metric"]["metric"] = found["float"]["accuracy_metric"]["metric"] = metric
    return document_of(found)


@pytest.mark.parametrize(
    ("value", "significant", "metric", "tone", "said"),
    [
        (-0.008, False, "top1", "plain", "lower by 0.8 points, which may be chance"),
        (-0.03, True, "top1", "bad", "lower by 3.0 points, which is more than chance"),
        (0.03, True, "top1", "good", "higher by 3.0 points, which is more than chance"),
        (0.03, True, "mse", "bad", "higher by 0.03, which is more than chance"),
        (-0.03, True, "mse", "good", "lower by 0.03, which is more than chance"),
        (0.0, False, "top1", "plain", "changed by 0 points; on other samples"),
    ],
)
def test_the_first_screen_says_whether_a_change_is_chance(
    value: float, significant: bool, metric: str, tone: str, said: str
) -> None:
    found = changed(value, value - 0.01, value + 0.01, significant=significant, metric=metric)
    tile = next(item for item in summary.tiles(found) if item.title == "Accuracy")
    assert tile.tone == tone
    assert said in tile.detail
    assert "400 samples" in tile.detail


@pytest.mark.parametrize(
    ("interval", "said"), [([0.95, 1.05], "about as fast as before"), ([0.5, 1.1], "too noisy to tell")]
)
def test_times_that_cannot_be_told_apart_are_not_called_faster(interval: list[float], said: str) -> None:
    found = document()
    found["candidates"][2]["latency_ratio_interval"] = interval
    speed = next(item for item in summary.tiles(document_of(found)) if item.title == "Speed")
    assert (speed.value, speed.tone) == (said, "plain")


def test_without_samples_nothing_is_said_of_accuracy() -> None:
    found = document(goal=None, verdict=None)
    found["conditions"] |= {"calibration_samples": 0, "tuning_samples": 0, "reporting_samples": 0, "data": None}
    for item in (found["float"], *found["candidates"]):
        item |= {"accuracy_metric": None, "accuracy_change": None, "agreement": None, "sqnr_db": None}
    read = document_of(found | {"diagnoses": {}})
    tiles = {item.title: item.value for item in summary.tiles(read)}
    assert tiles["Accuracy"] == "not measured"
    assert "not measured" in summary.verdict(read)
    assert "top1" not in markdown(read)
    for package in HTML_PACKAGES:
        pytest.importorskip(package)
    from tersor.report.page import render

    text = render(read)
    assert "top1" not in text.partition('id="words"')[0]
    assert text.count('class="drawing"') == 1  # size and time


def test_a_device_that_is_not_here_is_not_timed() -> None:
    tiles = {item.title: item for item in summary.tiles(document_of(document(target="edge_tpu")))}
    assert tiles["Speed"].value == "not measured"
    assert tiles["Working memory"].value == "as large as before"
    assert "Working memory" not in {item.title for item in summary.tiles(document_of(document()))}


NUMBERS: st.SearchStrategy[Any] = st.sampled_from(
    [0, -1, 1, 0.5, 1e-300, 1e300, -1e300, 10**400, True, None, "", [], {}]
)


@settings(deadline=None)
@given(st.data())
def test_whatever_numbers_a_document_holds_it_is_said_or_refused(data: st.DataObject) -> None:
    found = document()
    holder: Any = found
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(holder[key], dict | list):
            break
        holder = holder[key]
    holder[key] = data.draw(NUMBERS)
    try:
        read = document_of(found)
    except FormatError:
        return
    assert markdown(read)
    assert candidates_csv(read)
    assert layers_csv(read)


def test_layers_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    """As where another model was searched for in the folder, and the search was interrupted."""
    (tmp_path / "own.csv").write_text("of the user")
    write_files(document_of(document()), tmp_path)
    assert (tmp_path / "layers.csv").exists()
    assert list(tmp_path.glob("*.node_data.json"))
    write_files(document_of(document() | {"diagnoses": {}}), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} - {"report.html"} == {"report.md", "candidates.csv", "own.csv"}


def test_nothing_to_ship_is_said(tmp_path: Path) -> None:
    found = document_of(document(pick=None, candidates=[], front=[], reached=False, diagnoses={}))
    assert summary.headline(found) == "Nothing to ship yet"
    assert markdown(found).startswith("# Nothing to ship yet")


def test_a_missed_limit_is_said_in_the_headline() -> None:
    found = document_of(document(reached=False, missed=["nothing is within --max-size 1 kB"]))
    assert summary.headline(found) == "Nothing keeps the limits; int8 comes nearest"
    text = markdown(found)
    assert "- nothing is within --max-size 1 kB" in text
    assert "The file: `net.int8.tflite`, of which `pick.tflite` is a copy" in text
    assert "to ship" not in text.split("## ")[0]
    assert "The file to ship: `net.int8.tflite`" in markdown(document_of(document()))


def test_reasons_against_others_stand_apart() -> None:
    found = summary.reasons(document_of(document()))
    assert found.first == ("int8 is the pick: it is the smallest that keeps the goal.",)
    assert found.others == ("dynamic is out: it takes 1.40 times the time of float.",)


def test_a_rival_that_looks_better_is_not_hidden_among_the_others() -> None:
    texts = ("int8 is the pick: it is small.", f"dynamic is out: its top1 {NOT_COUNTED}.", "float16 is out: too large.")
    found = summary.reasons(document_of(document(reasons=list(texts))))
    assert (found.first, found.others) == (texts[:2], texts[2:])


def test_memory_of_this_machine_gives_way_to_a_measured_arena() -> None:
    found = document()
    assert [column.title for column in columns_of(document_of(found))][-2:] == ["Time", "Memory"]
    found["candidates"][2]["measured_arena_bytes"] = 43_100
    columns = columns_of(document_of(found))
    assert [column.title for column in columns][-2:] == ["Time", "Arena"]
    assert columns[-1].cell(document_of(found).candidates[2]).text == "43.1 kB"
    assert "measured_arena_bytes" in candidates_csv(document_of(found)).splitlines()[0]


# ---- axes and labels


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=8))
def test_sizes_and_times_lie_on_their_axis(values: list[float]) -> None:
    axis = positive_axis(values, 300)
    assert all(0 <= axis.place(value) <= 300 for value in values)
    assert 1 <= len(ticks(axis)) <= 10


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
def test_changes_lie_on_their_axis_with_zero(values: list[float]) -> None:
    axis = signed_axis(values, 200, 2.0)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 200 for place in places)
    marks = ticks(axis)
    assert 0.0 in marks
    assert all(b - a >= 30 for a, b in zip(map(axis.place, marks), map(axis.place, marks[1:]), strict=False))


def test_an_axis_of_ten_times_is_logarithmic() -> None:
    assert positive_axis([1.0, 9.0], 300).kind == "linear"
    assert positive_axis([1.0, 10.0], 300) == Axis("log", 1 / 1.4, 14.0, 300)


points = st.tuples(st.floats(0, 300), st.floats(0, 200))


@settings(deadline=None)
@given(st.lists(points, min_size=1, max_size=12))
def test_no_two_labels_overlap(places: list[tuple[float, float]]) -> None:
    texts = [f"candidate {i}" for i in range(len(places))]
    boxes = []
    for text, (x, y), label in zip(texts, places, labels(texts, places, 300), strict=True):
        if label is not None:
            long = 6.1 * len(text)
            left = x + label.dx - {"left": 0.0, "center": long / 2, "right": long}[label.align]
            boxes.append((left, y + label.dy - 6.5, left + long, y + label.dy + 6.5))
            assert left >= 0
            assert left + long <= 300
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


# ---- distributions


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=200),
    st.floats(1e-3, 10),
    st.integers(-128, 127),
)
@example([0.0, -0.0], 1.0, -128)
def test_a_distribution_counts_every_value(values: list[float], scale: float, zero_point: int) -> None:
    array = np.array(values, np.float32)
    histogram = Histogram()
    histogram.add(array)
    params = QuantParams((scale,), (zero_point,), DType.INT8)
    found = of_counts(histogram, float(array.min()), float(array.max()), params)
    assert found is not None
    assert len(found.counts) == BARS
    assert sum(found.counts) == len(values)


def test_the_last_bar_holds_what_lies_at_the_end() -> None:
    histogram = Histogram()
    histogram.add(np.array([0.0] * 5 + [6.0] * 7, np.float32))
    found = of_counts(histogram, 0.0, 6.0, QuantParams((6 / 255,), (-128,), DType.INT8))
    assert found is not None
    assert (found.counts[0], found.counts[-1], sum(found.counts)) == (5, 7, 12)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_what_is_not_finite_has_no_distribution(spoilt: float) -> None:
    histogram = Histogram()
    histogram.add(np.array([0.0, spoilt], np.float32))
    assert of_counts(histogram, 0.0, 1.0, QuantParams((1.0,), (0,), DType.INT8)) is None


def test_weights_are_shown_beside_the_widest_channel(cli: Cli, place: Path) -> None:
    answer = cli("quantize", "net.tflite", "--data", "x.npy", "--samples", "12", "--diagnose", "-o", "q.tflite")
    assert answer.code == 0, answer.err
    found = json.loads((place / "q.debug.json").read_text())["operators"]
    conv = next(row for row in found if row["operator"] == "CONV_2D")
    graph = classifier().graph
    weights = graph.operand(next(op for op in graph.ops if op.kind == "CONV_2D"), 1)
    assert weights is not None
    assert weights.data is not None
    assert sum(conv["weights"]["counts"]) == weights.data.size
    assert conv["weights"]["smallest"] == pytest.approx(weights.data.min())
    assert conv["weights"]["low"] <= conv["weights"]["smallest"]
    assert "per channel" in conv["weights"]["stored"]
    assert sum(conv["activations"]["counts"]) == 24 * int(np.prod(classifier().graph.tensors[conv["layer"]].shape))


def layer(own: float | None, total: float | None, *causes: str) -> Layer:
    findings = tuple(Finding(cause, f"{cause} was seen", "cure it") for cause in causes)
    return Layer("conv", "conv", "CONV_2D", shown(own), shown(total), findings)


def shown(decibel: float | None) -> Errors:
    return Errors(decibel, decibel, 0.1, 1.0, 0.0)


@pytest.mark.parametrize(
    ("found", "said", "causes"),
    [
        (layer(33.0, 16.0, "accumulated_error"), "by itself it would reach 33 dB, in the network it has 16 dB", []),
        (layer(None, 16.0, "accumulated_error"), "by itself it would be exact, in the network it has 16 dB", []),
        (layer(30.0, 16.0, "coarse_weights"), "by itself it would reach 30 dB", ["coarse_weights"]),
        (layer(17.0, 16.0, "coarse_weights"), "", ["coarse_weights"]),
        (layer(33.0, 28.0), "", []),
    ],
)
def test_a_card_does_not_blame_a_layer_for_what_reaches_it(found: Layer, said: str, causes: list[str]) -> None:
    (card,) = layer_part("int8", Diagnosis(8, "xnnpack", (), (), (found,))).cards
    assert bool(card.inherited) == bool(said)
    assert said in card.inherited
    assert card.inherited.startswith("Its error comes from the layers before it" if said else "")
    assert [item.cause for item in card.findings] == causes


def test_a_network_of_small_errors_that_add_up_blames_no_layer() -> None:
    part = layer_part("int8", Diagnosis(8, "xnnpack", (), (), (layer(33.0, 16.0, "accumulated_error"),)))
    assert "small errors have added up from layer to layer" in part.summary
    assert "added up" not in layer_part("int8", Diagnosis(8, "xnnpack", (), (), (layer(33.0, 31.0),))).summary


# ---- Markdown and CSV


def test_markdown_takes_names_for_text() -> None:
    text = markdown(document_of(hostile()))
    reader = MarkdownIt("commonmark").enable("table")
    tokens = [inner for token in reader.parse(text) for inner in (token, *(token.children or ()))]
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}
    assert "table_open" in kinds
    for name in (HOSTILE, f"values of {HOSTILE} lie beyond"):
        assert any(name in _text(token) for token in tokens)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def _text(token: Token) -> str:
    """What a reader sees of a part of a text."""
    return "".join(part.content for part in token.children or ())


def test_markdown_says_what_a_reader_asks() -> None:
    text = markdown(document_of(document()))
    assert text.startswith("# Ship int8\n")
    assert "**Size: 4 times smaller**" in text
    assert "| **int8** | 500 kB (0.25x) |" in text
    assert "Kept on 400 samples" in text
    assert "**Before you believe the figures:**" not in text
    doubted = markdown(document_of(document(doubts=["guessing gets 10 %"])))
    assert "**Before you believe the figures:** guessing gets 10 %" in doubted
    assert "tersor quantize net.keras --as out/recipe.toml" in text
    assert "`conv_1`" in text


@pytest.mark.parametrize("text", ["a`b", "``", "`", "a", "x``y`z", HOSTILE])
def test_code_holds_backticks(text: str) -> None:
    fenced = code(text)
    ticks = re.match("`+", fenced)
    assert ticks is not None
    inner = fenced[len(ticks[0]) : -len(ticks[0])]
    assert inner.strip(" ") == text
    assert ticks[0] not in re.findall("`+", inner)


def test_plain_text_has_one_line_and_no_markup() -> None:
    assert plain("# a\n* b <i>") == r"\# a \* b \<i\>"
    assert list(table(["a"], [["x|y"]]))[-1] == r"| x\|y |"


def test_tables_hold_every_figure() -> None:
    found = document_of(hostile())
    rows = list(csv.DictReader(io.StringIO(candidates_csv(found))))
    assert [row["role"] for row in rows] == ["float", "front", "other", "pick", "front"]
    assert rows[3]["size_bytes"] == "500000"
    assert float(rows[3]["change"]) == pytest.approx(-0.008)
    assert rows[2]["name"] == HOSTILE
    layers = list(csv.DictReader(io.StringIO(layers_csv(found))))
    assert Counter(row["candidate"] for row in layers) == {"int8": 3, HOSTILE: 3}
    assert layers[0]["layer"] == HOSTILE
    assert (layers[0]["own_ac_sqnr_db"], layers[1]["own_ac_sqnr_db"]) == ("8.5", "")


# ---- node data


def test_node_data_has_the_form_of_model_explorer() -> None:
    builder = pytest.importorskip("model_explorer.node_data_builder", reason="Model Explorer is not installed")
    found = document_of(document()).diagnoses["int8"]
    for measure in MEASURES:
        data = node_data("int8", found, measure)
        made = builder.GraphNodeData(
            results={name: builder.NodeDataResult(**item) for name, item in data["results"].items()},
            thresholds=[builder.ThresholdItem(**item) for item in data["thresholds"]],
            **{name: item for name, item in data.items() if name not in ("results", "thresholds")},
        )
        written = json.loads(made.to_json_string())
        assert {name: written[name] for name in data} == data


def test_node_data_names_results_of_the_file(cli: Cli, place: Path) -> None:
    adapter = pytest.importorskip("ai_edge_model_explorer_adapter", reason="Model Explorer is not installed")
    assert cli("quantize", "net.tflite", "--data", "x.npy", "--diagnose", "-o", "q.tflite").code == 0
    found = document_of(document(diagnoses={"q": json.loads((place / "q.debug.json").read_text())}))
    config = adapter.VisualizeConfig()
    (model,) = json.loads(adapter.ConvertFlatbufferDirectlyToJson(config, str(place / "q.tflite")))
    shown = {
        item["value"]
        for node in model["subgraphs"][0]["nodes"]
        for output in node.get("outputsMetadata", [])
        for item in output["attrs"]
        if item["key"] == "tensor_name"
    }
    results = node_data("q", found.diagnoses["q"], "total")["results"]
    assert results
    assert set(results) <= shown


def test_node_data_leaves_out_what_has_no_figure() -> None:
    found = document_of(document()).diagnoses["int8"]
    assert set(node_data("int8", found, "own")["results"]) == {"conv_1"}
    assert set(node_data("int8", found, "total")["results"]) == {"conv_1", "conv_2", "reshape"}
    assert node_data("int8", found, "own")["results"]["conv_1"] == {"value": 8.5}


# ---- placement


def test_placement_has_its_section_and_its_place_among_others() -> None:
    for package in HTML_PACKAGES:
        pytest.importorskip(package)
    from tersor.report.page import render

    text = render(document_of(document()))
    ids = [attributes.get("id") for tag, attributes in Elements(text).found if tag == "section"]
    assert ids == ["ship", "trade-off", "candidates", "placement", "layers", "reproduce", "words"]
    section = "".join(Elements(text.split('<section id="placement"')[1].split("</section>")[0]).text)
    assert "int8: 2 of 3 operators on the accelerator" in section
    assert "arena: 128 kB" in section
    assert "75.0 %" in section
    assert section.count("TANH (operator 1): no conv_1") == 1  # the candidate that is refused
    assert 'placement"' not in render(document_of(document(placements={})))


def test_placement_without_resources_has_no_column_for_them() -> None:
    for package in HTML_PACKAGES:
        pytest.importorskip(package)
    from tersor.report.page import render

    found = document()
    assert ">Takes<" in render(document_of(found))
    found["placements"]["int8"]["takes"] = []
    assert ">Takes<" not in render(document_of(found))


def test_placement_of_another_candidate_than_the_pick_has_a_row_alone() -> None:
    found = document_of(document(pick="dynamic"))
    assert found.place is None
    text = markdown(found)
    assert "## Placement on cpu" in text
    assert "what to change" not in text
    assert "| int8 | 2 of 3 | 75.0 % | arena: 128 kB | TANH (operator 1): conv\\_1 |" in text
    assert "| int8\\_w4 | none |  |  | TANH (operator 1): no conv\\_1 |" in text


def test_report_of_before_there_were_placements_is_read() -> None:
    found = document()
    del found["placements"]
    assert "Placement" not in markdown(document_of(found))
    found["placements"] = {"int8": {"headline": 3}}
    with pytest.raises(FormatError, match=r"placements.int8"):
        document_of(found)


# ---- the page


def test_names_are_text_and_nothing_else(page: str) -> None:
    elements = Elements(page)
    kinds = Counter(tag for tag, _ in elements.found)
    assert kinds["script"] == 1
    assert kinds["img"] == kinds["iframe"] == kinds["object"] == kinds["link"] == 0
    for tag, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("href", "xlink:href", "src", "action"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    text = "".join(elements.text)
    assert HOSTILE in text
    assert "{{7*7}}" in text  # and not 49


def test_a_page_permits_itself_only_its_own_script(page: str) -> None:
    from tersor.report.page import _digest

    script = page.split("<script>")[1].split("</script>")[0]
    style = page.split("<style>")[1].split("</style>")[0]
    policy = next(a["content"] for _, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{_digest(script)}'" in policy
    assert f"style-src 'sha256-{_digest(style)}'" in policy
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in Elements(page).found)  # the policy would not let them


def test_a_page_is_small(page: str) -> None:
    assert len(page.encode()) < 1_000_000


def test_every_anchor_leads_somewhere(page: str) -> None:
    elements = Elements(page).found
    places = {attributes["id"] for _, attributes in elements if "id" in attributes}
    links = {attributes["href"] for tag, attributes in elements if tag == "a"}
    assert {f"#candidate-{i}" for i in range(1, 5)} | {"#float", "#layers"} <= links
    assert {(link or "")[1:] for link in links} <= places
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def palettes() -> list[tuple[str, dict[str, str]]]:
    style = (Path(words.__file__).parent / "templates" / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [
        (name, dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)))
        for name, block in zip(("light", "dark", "print"), blocks, strict=True)
    ]


def contrast(a: str, b: str) -> float:
    """WCAG 2.2: relative luminance of the lighter over that of the darker."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("name", "colours"), palettes())
def test_contrast_is_that_of_wcag_aa(name: str, colours: dict[str, str]) -> None:
    text = [(ink, back) for ink in ("ink", "muted", "link") for back in ("page", "surface", "code")]
    text += [("good", "surface"), ("bad", "surface"), ("ink", "good-wash"), ("muted", "good-wash"), ("ink", "bad-wash")]
    text += [
        ("bad", "good-wash"),
        ("surface", "good"),
        ("front", "surface"),
        ("front", "good-wash"),
        ("surface", "ink"),
    ]
    marks = [(mark, "surface") for mark in ("pick", "float", "front", "other", "bars", "bound", "focus")]
    marks += [("bars", "range"), ("bound", "range")]
    for pairs, least in ((text, 4.5), (marks, 3.0)):
        for a, b in pairs:
            assert contrast(colours[a], colours[b]) >= least, (name, a, b)


# ---- the command line


def test_pages_are_made_again_elsewhere(cli: Cli, place: Path) -> None:
    for package in HTML_PACKAGES:
        pytest.importorskip(package)
    (place / "made").mkdir()
    (place / "made" / "report.json").write_text(json.dumps(document()))
    answer = cli("report", "made", "-o", "pages")
    assert answer.code == 0, answer.err
    names = {path.name for path in (place / "pages").iterdir()}
    assert {"report.html", "report.md", "candidates.csv", "layers.csv", "int8.own.node_data.json"} <= names
    assert [path.name for path in (place / "made").iterdir()] == ["report.json"]
    assert "<h1" in (place / "pages" / "report.html").read_text()


def test_no_report_is_one_line(cli: Cli, place: Path) -> None:
    answer = cli("report", "nowhere")
    assert answer.code == 3
    assert "nowhere: cannot be read" in answer.err
    assert len(answer.err.splitlines()) == 1
    (place / "report.json").write_text('{"schema_version": 1}')
    answer = cli("report", "report.json")
    assert answer.code == 3
    assert "is missing" in answer.err


def test_without_the_extra_all_but_the_page_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("tersor.report.page", "tersor.report.drawing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(sys.modules, "altair", None)
    written, missing = write_files(document_of(document()), tmp_path)
    assert {path.name for path in written} >= {"report.md", "candidates.csv"}
    assert not (tmp_path / "report.html").exists()
    assert missing is not None
    assert "pip install 'tersor[report]'" in missing
    assert f"tersor report {tmp_path}" in missing


def test_debug_writes_a_page_of_one_file(cli: Cli, place: Path) -> None:
    for package in HTML_PACKAGES:
        pytest.importorskip(package)
    assert cli("quantize", "net.tflite", "--data", "x.npy", "-o", "q.tflite").code == 0
    answer = cli("debug", "net.tflite", "q.tflite", "--data", "x.npy", "--html", "layers.html")
    assert answer.code == 0, answer.err
    text = "".join(Elements((place / "layers.html").read_text()).text)
    assert "Where the error of q.tflite comes from" in text
    assert "Its weights" in text
    assert "24 samples" in text


def test_optimize_writes_the_report(cli: Cli, place: Path) -> None:
    np.savez(place / "data.npz", x=images(60), y=np.zeros(60, np.int64))
    tflite.write(classifier(), place / "net.tflite")
    (place / "labels.txt").write_text("\n".join("abcde"))
    wish = ["--data", "data.npz", "--target", "edge_tpu", "--time-budget", "8s", "--labels", "labels.txt"]
    answer = cli("optimize", "net.tflite", *wish, "--output", "out", "--rescale", "1/255")
    assert answer.code == 0, answer.err
    found = read_document(place / "out")
    assert sorted((found.command or "").split()) == sorted(
        ["tersor", "optimize", "net.tflite", *wish, "--output", "out", "--rescale", "1/255"]
    )
    assert found.pick_command is not None
    assert found.pick_command.startswith(
        "tersor quantize net.tflite --data data.npz --labels labels.txt --rescale 1/255"
    )
    assert found.diagnoses
    assert (place / "out" / "report.md").read_text().startswith("# ")
    again = cli(*found.pick_command.split()[1:])
    assert again.code == 0, again.err
    assert (place / "out" / "again.tflite").read_bytes() == (place / "out" / "pick.tflite").read_bytes()


def test_ctrl_c_while_layers_are_looked_into_keeps_the_rest(
    cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tersor.stages.explain.explain", interrupted)
    np.savez(place / "data.npz", x=images(60), y=np.zeros(60, np.int64))
    answer = cli("optimize", "net.tflite", "--data", "data.npz", "--target", "edge_tpu", "--time-budget", "1s")
    assert answer.code == 0, answer.err
    assert "the report is without them" in answer.err
    assert read_document(place / "out").diagnoses == {}
    assert (place / "out" / "report.md").exists()
