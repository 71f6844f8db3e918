"""Normalization and labels that travel with a model: stated, obeyed, refused where they contradict, never lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Cli
from small_nets import DEMO_DATA, classifier, conv, dense, images, shared_file, through_file
from tersor.data.dataset import Dataset
from tersor.data.preprocess import EPSILON, Preprocess
from tersor.errors import DataError, FormatError, RecipeError
from tersor.formats import tflite
from tersor.formats.tflite import metadata
from tersor.formats.tflite.metadata import Normalization, with_normalizations
from tersor.formats.tflite.parameters import parameter, read_parameters, with_parameters
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.numerics.affine import asymmetric_params
from tersor.recipe import presets
from tersor.stages.annotate import (
    CLASSES,
    RESCALE,
    SAMPLEWISE,
    annotate,
    declared,
    labels_of,
    read_label_file,
    resolve,
    same,
)
from tersor.stages.load_data import load_data

LABELS = ("shirt", "trouser", "Größe", "dress", "coat")

WAYS = (
    Preprocess(rescale=1 / 255),
    Preprocess(mean=(127.5,), std=(127.5,)),
    Preprocess(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),
    Preprocess(mean=(128.0,)),
    Preprocess(std=(2.0,)),
    Preprocess(samplewise=True),
    Preprocess(rescale=0.5, samplewise=True),
)


def again(model: Model) -> Model:
    return tflite.read_bytes(tflite.write_bytes(model), source="net.tflite")


# values


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_written_is_declared(way: Preprocess) -> None:
    found = declared(again(annotate(classifier(), way)))
    assert same(found, way)
    values = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    np.testing.assert_allclose(found.apply(values), way.apply(values), rtol=2e-6)


def test_each_form_says_what_it_can() -> None:
    forms = {
        way: (RESCALE in read_parameters(found), bool(metadata.read_normalizations(found)))
        for way in WAYS
        for found in [annotate(classifier(), way)]
    }
    assert [forms[way] for way in WAYS] == [
        (True, True),
        (False, True),
        (False, True),
        (False, True),
        (False, True),
        (True, False),
        (True, False),
    ]


@pytest.mark.parametrize("first", WAYS, ids=str)
@pytest.mark.parametrize("second", WAYS, ids=str)
def test_another_one_takes_its_place(first: Preprocess, second: Preprocess) -> None:
    assert same(declared(again(annotate(annotate(classifier(), first), second))), second)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_identity_withdraws_it(way: Preprocess) -> None:
    assert declared(again(annotate(annotate(classifier(), way), Preprocess()))).is_identity


def test_nothing_changes_where_it_is_stated_already() -> None:
    model = annotate(classifier(), WAYS[0], LABELS)
    assert annotate(model, WAYS[0], LABELS) == model
    assert annotate(model, Preprocess(mean=(0.0,), std=(255.0,))) == model


def test_resolve() -> None:
    silent, speaking = classifier(), annotate(classifier(), WAYS[0])
    assert resolve(Preprocess(), silent).is_identity
    assert resolve(WAYS[1], silent) == WAYS[1]
    assert same(resolve(Preprocess(), speaking), WAYS[0])
    assert same(resolve(Preprocess(mean=(0.0,), std=(255.0,)), speaking), WAYS[0])
    with pytest.raises(
        RecipeError, match=r"\(x - 127\.5\) / 127\.5 is asked for, but .* states x \* 0\.00392157 in its"
    ):
        resolve(WAYS[1], speaking)


def test_mltk_says_nothing_with_nought() -> None:
    """Its models of sound state a factor of 0 and False: there is nothing to do."""
    model = with_parameters(classifier(), {RESCALE: parameter(0.0), SAMPLEWISE: parameter(False)})
    assert declared(model).is_identity


def test_forms_that_contradict_each_other() -> None:
    model = with_parameters(annotate(classifier(), WAYS[0]), {RESCALE: parameter(0.5)})
    with pytest.raises(
        FormatError, match=r"its model parameters say x \* 0\.5, its metadata of input 'x' \(x - 0\) / 255"
    ):
        declared(model)
    assert same(declared(annotate(model, WAYS[1])), WAYS[1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Normalization((0.0,), (0.0,)), "state no usable normalization"),
        (Normalization((float("nan"),), (1.0,)), "state no usable normalization"),
        (Normalization((0.0,), (float("inf"),)), "state no usable normalization"),
    ],
)
def test_a_normalization_that_is_none(given: Normalization, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        declared(with_normalizations(classifier(), {"x": given}))


@pytest.mark.parametrize("value", ["1/255", True, (1.0, 2.0), float("nan")])
def test_a_factor_that_is_none(value: object) -> None:
    with pytest.raises(FormatError, match=r"samplewise_norm\.rescale"):
        declared(with_parameters(classifier(), {RESCALE: parameter(value)}))


def test_inputs_that_are_normalized_differently() -> None:
    builder = Builder("two")
    a, b = builder.input("a", [1, 4]), builder.input("b", [1, 4])
    model = through_file(builder.model([builder.op("ADD", [dense(builder, a, 3), dense(builder, b, 3, "d2")], [1, 3])]))
    both = with_normalizations(model, {"a": Normalization((0.0,), (2.0,)), "b": Normalization((0.0,), (3.0,))})
    with pytest.raises(FormatError, match=r"metadata of input 'a' say \(x - 0\) / 2, its metadata of input 'b'"):
        declared(both)
    assert metadata.read_normalizations(annotate(model, WAYS[0])).keys() == {"a", "b"}


# labels


def test_labels_belong_to_the_output_that_has_as_many_values() -> None:
    builder = Builder("two")
    x = builder.input("x", [1, 4])
    model = through_file(builder.model([dense(builder, x, 3, "few"), dense(builder, x, 5, "many")]))
    assert labels_of(again(annotate(model, labels=LABELS))) == {model.graph.outputs[1]: LABELS}
    with pytest.raises(
        RecipeError, match=r"there are 4 labels, but of the outputs of <bytes>, .* has 3, .* has 5 values"
    ):
        annotate(model, labels=LABELS[:4])


def test_mltk_has_labels_among_its_parameters() -> None:
    model = annotate(classifier(), WAYS[0], LABELS)
    assert read_parameters(model)[CLASSES].value == LABELS
    assert labels_of(with_parameters(classifier(), {CLASSES: parameter(list(LABELS))})) == {"scores": LABELS}
    assert labels_of(with_parameters(classifier(), {CLASSES: parameter(["a", "b"])})) == {}


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("a\nb\n", ("a", "b")),
        ("a\r\nb\r\n\r\n", ("a", "b")),
        ("\ufeffa\nb", ("a", "b")),
        (" a b \n\tc\n", ("a b", "c")),
        ("crane\ncrane\n", ("crane", "crane")),
    ],
)
def test_label_files(tmp_path: Path, content: str, labels: tuple[str, ...]) -> None:
    (tmp_path / "labels.txt").write_text(content, "utf-8", newline="")
    assert read_label_file(tmp_path / "labels.txt") == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there are no labels in it"),
        (b"\n\n", "there are no labels in it"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"\xff\xfea\x00", "are not UTF-8 text: invalid start byte at byte 0"),
        (b"x" * (2 << 20), "it has a line of 2097152 characters"),
    ],
)
def test_label_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        read_label_file(tmp_path / "labels.txt")
    with pytest.raises(RecipeError, match="the labels cannot be read: Is a directory"):
        read_label_file(tmp_path)


# per-sample normalization, and what is folded


def test_samplewise_is_what_mltk_does() -> None:
    """Its formula, x - mean(x), then x / (std(x) + 1e-6), in float32 as it computes it."""
    raw = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    for rescale in (None, 1 / 255):
        x = raw.astype(np.float32) * np.float32(rescale or 1)
        wanted = (x - np.mean(x, keepdims=True)) / (np.std(x, keepdims=True) + EPSILON)
        found = Preprocess(rescale=rescale, samplewise=True).apply(raw)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
        assert abs(found.mean()) < 1e-6
        assert found.std() == pytest.approx(1, rel=1e-4)
    assert not Preprocess(samplewise=True).apply(np.full((4, 4, 1), 7, np.uint8)).any()


@pytest.mark.parametrize(
    ("way", "folds"),
    [
        (Preprocess(), True),
        (Preprocess(rescale=1 / 255), True),
        (Preprocess(rescale=1 / 127.5), True),
        (Preprocess(mean=(128.0,), std=(128.0,)), True),
        (Preprocess(mean=(128.0, 128.0, 128.0), std=(64.0,)), True),
        (Preprocess(mean=(127.5,), std=(127.5,)), False),
        (Preprocess(mean=(1.0, 2.0, 3.0)), False),
        (Preprocess(mean=(300.0,)), False),
        (Preprocess(rescale=-1.0), False),
        (Preprocess(samplewise=True), False),
    ],
    ids=str,
)
def test_what_can_be_folded_is(way: Preprocess, folds: bool) -> None:
    bounds = way.foldable()
    assert (bounds is not None) == folds
    if bounds is not None:
        for dtype, offset in ((DType.INT8, -128), (DType.UINT8, 0)):
            table = way.table(asymmetric_params(*bounds, dtype))
            np.testing.assert_array_equal(table, np.arange(256)[:, np.newaxis] + offset + 0 * table)


def test_bytes_go_into_the_file_as_they_are(cli: Cli, place: Path) -> None:
    """Though calibration saw no byte below 20 or above 200, the input's scale is that of all bytes."""
    x = np.random.default_rng(0).integers(20, 200, (24, 6, 6, 3)).astype(np.uint8)
    np.save(place / "bytes.npy", x)
    answer = cli("quantize", "net.tflite", "--data", "bytes.npy", "--mean", "100", "--std", "50", "--as", "int8,uint8")
    assert answer.code == 0, answer.err
    assert "int8: takes raw bytes less 128: (x - 100) / 50 is folded into its input's scale" in answer.err
    assert "uint8: takes raw bytes: (x - 100) / 50 is folded into its input's scale" in answer.err
    for flavour, zero_point in (("int8", -28), ("uint8", 100)):
        quant = tflite.read(place / f"net.{flavour}.tflite").graph.tensors["x"].quant
        assert quant is not None
        assert (quant.scale, quant.zero_point) == (float(np.float32(1 / 50)), zero_point)


def test_floats_keep_the_range_that_was_seen(cli: Cli, place: Path) -> None:
    np.save(place / "floats.npy", np.random.default_rng(0).uniform(20, 200, (24, 6, 6, 3)))
    answer = cli("quantize", "net.tflite", "--data", "floats.npy", "--mean", "100", "--std", "50")
    assert "folded" not in answer.err
    quant = tflite.read(place / "net.int8.tflite").graph.tensors["x"].quant
    assert quant is not None
    assert quant.scale < 1 / 60


def test_a_source_that_is_no_longer_what_it_says_is_not_folded() -> None:
    from tersor.stages.calibrate import calibrate

    data = load_data(str(DEMO_DATA), tflite.read(DEMO_DATA.with_name("fashion_mnist.tflite")), WAYS[0])
    assert data.bounds == (0.0, 1.0)
    twice = Dataset(lambda _: iter(images(4) * 2), None, "floats", bounds=(0.0, 1.0))
    assert calibrate(classifier(), twice).range("x")[1] > 1.5


# commands


def test_quantize_writes_and_run_and_evaluate_obey(cli: Cli, place: Path) -> None:
    np.savez(place / "xy.npz", x=np.random.default_rng(0).integers(0, 256, (24, 6, 6, 3)), y=np.arange(24) % 5)
    (place / "labels.txt").write_text("\n".join(LABELS), "utf-8")
    made = cli(
        "quantize", "net.tflite", "--data", "xy.npz", "--mean", "127.5", "--std", "127.5", "--labels", "labels.txt"
    )
    assert made.code == 0, made.err
    refused = "MediaPipe Tasks refuses int8 inputs; --as uint8 or int8_float_io makes one for it"
    assert f"int8: {refused}" in made.err
    for flavour, more in (("int8", ()), ("uint8", ("--labels", "labels.txt"))):
        assert refused not in cli("quantize", "net.tflite", "--data", "xy.npz", "--as", flavour, *more, "-o", "o").err
    model = tflite.read(place / "net.int8.tflite")
    assert declared(model) == WAYS[1]
    assert labels_of(model) == {"scores": LABELS}
    bare = cli("run", "net.int8.tflite", "xy.npz", "--json")
    assert "samples are normalized as the model states: (x - 127.5) / 127.5" in bare.err
    flagged = cli("run", "net.int8.tflite", "xy.npz", "--json", "--mean", "127.5", "--std", "127.5")
    assert flagged.err == ""
    assert bare.out == flagged.out != cli("run", "net.int8.tflite", "xy.npz", "--json", "--as-is").out
    assert "] Größe 0." in cli("run", "net.int8.tflite", "xy.npz").out
    evaluated = [
        cli("evaluate", "net.int8.tflite", "--data", "xy.npz", *more)
        for more in ((), ("--mean", "127.5,127.5,127.5", "--std", "127.5"))
    ]
    assert evaluated[0].out == evaluated[1].out != ""


@pytest.mark.parametrize("command", ["run", "evaluate", "quantize", "debug"])
def test_a_contradictory_option_is_refused_in_one_line(cli: Cli, place: Path, command: str) -> None:
    tflite.write(annotate(classifier(), WAYS[1]), place / "net.tflite")
    arguments = ["x.npy"] if command == "run" else ["--data", "x.npy"]
    answer = cli(command, "net.tflite", *arguments, "--rescale", "1/255")
    assert answer.code == RecipeError.exit_code
    assert answer.err == (
        "error: x * 0.00392157 is asked for, but net.tflite states (x - 127.5) / 127.5 in its metadata: leave the "
        "option out, or write what is right into the model with 'tersor params MODEL attach'\n"
    )
    answer = cli(command, "net.tflite", *arguments, "--rescale", "1/255", "--as-is")
    assert answer.err.startswith("error: --as-is leaves samples as they are, and x * 0.00392157 is asked for, too")


def test_quantize_needs_no_option_for_a_model_that_states_it(cli: Cli, place: Path) -> None:
    np.save(place / "bytes.npy", np.random.default_rng(0).integers(0, 256, (24, 6, 6, 3)).astype(np.uint8))
    assert cli("quantize", "net.tflite", "--data", "bytes.npy", "--rescale", "1/255", "-o", "a.tflite").code == 0
    tflite.write(annotate(classifier(), WAYS[0]), place / "net.tflite")
    answer = cli("quantize", "net.tflite", "--data", "bytes.npy", "-o", "b.tflite")
    assert "samples are normalized as the model states: x * 0.00392157" in answer.err
    assert (place / "a.tflite").read_bytes() == (place / "b.tflite").read_bytes()


def test_metadata_can_be_left_out(cli: Cli, place: Path) -> None:
    assert cli("quantize", "net.tflite", "--data", "x.npy", "--rescale", "0.5", "--no-metadata").code == 0
    assert tflite.read(place / "net.int8.tflite").metadata == ()


def test_debug_asks_the_quantized_model_where_the_float_one_is_silent(cli: Cli, place: Path) -> None:
    assert cli("quantize", "net.tflite", "--data", "x.npy", "--rescale", "0.5").code == 0
    answers = [
        cli("debug", "net.tflite", "net.int8.tflite", "--data", "x.npy", "--json", *more)
        for more in ((), ("--rescale", "0.5"), ("--as-is",))
    ]
    assert answers[0].out == answers[1].out != answers[2].out


@pytest.mark.parametrize("lines", [4, 6, 1001])
def test_labels_of_another_number_stop_before_anything_is_done(cli: Cli, place: Path, lines: int) -> None:
    (place / "labels.txt").write_text("\n".join(map(str, range(lines))))
    answer = cli("quantize", "net.tflite", "--data", "nowhere.npy", "--labels", "labels.txt")
    assert answer.code == RecipeError.exit_code
    assert answer.err == (f"error: there are {lines} labels, but of the outputs of net.tflite, 'scores' has 5 values\n")


def test_attach_describes_a_finished_file(cli: Cli, place: Path) -> None:
    (place / "labels.txt").write_text("\n".join(LABELS), "utf-8")
    before = tflite.read(place / "net.tflite")
    assert cli("params", "net.tflite", "attach", "--rescale", "1/255", "--labels", "labels.txt").code == 0
    after = tflite.read(place / "net.tflite")
    assert after.graphs == before.graphs
    listed = json.loads(cli("params", "net.tflite", "--json").out)
    assert listed["normalization"] == "x * 0.00392157"
    assert listed["labels"] == {"scores": list(LABELS)}
    assert "normalization: x * 0.00392157" in cli("params", "net.tflite").err
    shown = cli("inspect", "net.tflite").out
    assert "x * 0.00392157" in shown
    assert "5 of scores" in shown
    assert cli("params", "net.tflite", "attach", "--as-is").code == 0
    assert declared(tflite.read(place / "net.tflite")).is_identity
    assert labels_of(tflite.read(place / "net.tflite")) == {"scores": LABELS}


@pytest.mark.parametrize("flavour", ["all", "int8"])
def test_what_a_model_carries_survives_every_writer(cli: Cli, place: Path, flavour: str) -> None:
    """Metadata of others, MLTK's parameters, labels and attached files: byte for byte, in each flavour."""
    model = annotate(classifier(), WAYS[0], LABELS)
    model = replace(
        with_parameters(model, {**read_parameters(model), "led": parameter(43), "hash": parameter("abc")}),
        description="by somebody",
    )
    model = replace(
        model, metadata=(("own", b"\x00\x01"), *model.metadata), attachments=(*model.attachments, ("notes.txt", b"hi"))
    )
    tflite.write(model, place / "net.tflite")
    answer = cli("quantize", "net.tflite", "--data", "x.npy", "--as", flavour, "--output", "out")
    assert answer.code == 0, answer.err
    made = sorted((place / "out").glob("*.tflite"))
    assert len(made) == (len(presets()) if flavour == "all" else 1)
    for path in made:
        written = tflite.read(path)
        assert written.metadata == model.metadata
        assert written.attachments == model.attachments
        assert written.description == model.description


def folders(place: Path, names: tuple[str, ...]) -> Path:
    """A picture in a folder for each class."""
    random = np.random.default_rng(0)
    for name in names:
        (place / "classes" / name).mkdir(parents=True)
        pixels = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / "classes" / name / "a.png")
    return place / "classes"


def test_folders_are_matched_with_the_labels_by_name(place: Path) -> None:
    model = annotate(classifier(), labels=LABELS)
    data = load_data(str(folders(place, ("trouser", "coat", "shirt"))), model)
    assert [(sample.source.split("/")[-2], sample.label) for sample in data] == [
        ("coat", 4),
        ("shirt", 0),
        ("trouser", 1),
    ]
    parts = data.split(2)
    assert sorted(sample.label for part in parts for sample in part) == [0, 1, 4]  # type: ignore[type-var]
    assert "classes have the indices that the model's labels give their names" in data.notes


def test_folders_that_are_not_the_models_classes(place: Path) -> None:
    model = replace(annotate(classifier(), labels=LABELS), source="net.tflite")
    path = str(folders(place, ("coat", "hat", "shirt", "vest", "tie")))
    with pytest.raises(DataError, match=r"'hat', 'tie', 'vest' are not among the 5 labels that net\.tflite carries"):
        load_data(path, model)
    other = load_data(path, annotate(classifier(), labels=tuple("abcde")))
    assert [sample.label for sample in other] == [*range(5)]
    assert any(
        note.startswith("none of the classes ('coat', 'hat', 'shirt' and 2 more) is among") for note in other.notes
    )
    (place / "numbered").mkdir()
    numbered = load_data(str(folders(place / "numbered", tuple("01234"))), annotate(classifier(), labels=LABELS))
    assert not any("none of the classes" in note for note in numbered.notes)
    few = place / "few"
    few.mkdir()
    with pytest.raises(DataError, match="'coat': the model has that label more than once"):
        load_data(
            str(folders(few, ("coat", "hat"))), annotate(classifier(), labels=("coat", "coat", "hat", "shirt", "x"))
        )


def test_samples_that_look_normalized_already_are_doubted(cli: Cli, place: Path) -> None:
    np.save(place / "bytes.npy", np.random.default_rng(0).integers(0, 256, (24, 6, 6, 3)).astype(np.uint8))
    tflite.write(annotate(classifier(), WAYS[1]), place / "net.tflite")
    assert "if it was normalized, give --as-is" in cli("quantize", "net.tflite", "--data", "x.npy").err
    assert "if it was" not in cli("quantize", "net.tflite", "--data", "bytes.npy").err
    assert "if it was" not in cli("quantize", "net.tflite", "--data", "x.npy", "--as-is").err


def test_repair_keeps_it_too(cli: Cli, place: Path) -> None:
    np.savez(place / "xy.npz", x=images(60), y=np.arange(60) % 5)
    more = ("--max-drop", "25%", "--rescale", "0.5", "--samples", "12")
    assert cli("quantize", "net.tflite", "--data", "xy.npz", *more).code in (0, 9)
    assert declared(tflite.read(place / "net.int8.tflite")) == Preprocess(rescale=0.5)


def test_damage_is_one_line(cli: Cli, place: Path) -> None:
    tflite.write(replace(classifier(), metadata=((metadata.NAME, b"\xff" * 40),)), place / "net.tflite")
    for command in (["run", "net.tflite", "x.npy"], ["params", "net.tflite"], ["inspect", "net.tflite"]):
        answer = cli(*command)
        assert answer.code == FormatError.exit_code
        assert answer.err.startswith("error: net.tflite: its metadata (TFLITE_METADATA) is damaged")
        assert answer.err.endswith("; 'tersor params MODEL remove TFLITE_METADATA' takes all of it out\n")
        assert len(answer.err.splitlines()) == 1
    assert cli("params", "net.tflite", "remove", metadata.NAME).code == 0
    assert cli("run", "net.tflite", "x.npy").code == 0


def test_a_mean_of_other_channels_names_the_sample(cli: Cli, place: Path) -> None:
    builder = Builder("grey")
    y = builder.op(
        "MEAN", [conv(builder, builder.input("x", [1, 4, 4, 1]), 2), builder.constant("axes", [1, 2])], [1, 2]
    )
    tflite.write(annotate(through_file(builder.model([y])), WAYS[2]), place / "grey.tflite")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(place / "a.png")
    answer = cli("run", "grey.tflite", "a.png")
    assert answer.code == DataError.exit_code
    assert "--mean has 3 values, the data has 1 channels" in answer.err


def test_library_takes_what_the_model_states() -> None:
    model = annotate(tflite.read(DEMO_DATA.with_name("fashion_mnist.tflite")), WAYS[0])
    largest = [next(iter(load_data(str(DEMO_DATA), model, way))) for way in (None, Preprocess(), WAYS[0])]
    assert [float(np.max(sample.inputs)) > 1 for sample in largest] == [False, True, False]  # type: ignore[call-overload]
    with pytest.raises(RecipeError, match="is asked for, but"):
        load_data(str(DEMO_DATA), model, WAYS[1])


@pytest.mark.slow
def test_samplewise_from_end_to_end_on_real_features(cli: Cli, place: Path) -> None:
    """A network of the demo fed with images that are standardized one by one: the file remembers that."""
    shared_file("README.md")
    model = DEMO_DATA.with_name("fashion_mnist.tflite")
    answer = cli("quantize", model, "--data", DEMO_DATA, "--samplewise", "--rescale", "1/255", "-o", "s.tflite")
    assert answer.code == 0, answer.err
    assert declared(tflite.read(place / "s.tflite")).samplewise
    bare, asked = (
        cli("evaluate", "s.tflite", "--data", DEMO_DATA, *more).out
        for more in ((), ("--samplewise", "--rescale", "1/255"))
    )
    assert bare == asked
