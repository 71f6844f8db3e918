"""Where samples come from: folders, lists, arrays, functions; how they are normalized, split and fitted."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from small_nets import classifier, images, of_classes
from tersor import registry
from tersor.data.dataset import Dataset, from_iterable
from tersor.data.feed import Sample, fit
from tersor.data.preprocess import Preprocess
from tersor.errors import DataError, RecipeError
from tersor.ir.graph import Array
from tersor.stages.load_data import KINDS, load_data, load_inputs

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def paint(path: Path, colour: str, size: tuple[int, int] = (6, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS[colour]).save(path)
    return path


def read(spec: object, preprocess: Preprocess | None = None) -> Dataset:
    return load_data(str(spec), classifier(), preprocess)


def pixels(sample: Sample) -> Array:
    assert isinstance(sample.inputs, np.ndarray)
    return sample.inputs


# Folders of images


def test_subfolders_are_classes_in_alphabetical_order(tmp_path: Path) -> None:
    for colour in COLOURS:
        for number in range(2):
            paint(tmp_path / colour / f"{number}.png", colour)
    data = load_data(str(tmp_path), of_classes(3))
    assert data.classes == ("blue", "green", "red")
    assert [sample.label for sample in data] == [0, 0, 1, 1, 2, 2]
    assert [pixels(sample)[0, 0].argmax() for sample in data] == [2, 2, 1, 1, 0, 0]
    assert [Path(sample.source).name for sample in data] == ["0.png", "1.png"] * 3


def test_folder_without_classes_has_no_labels(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", "red")
    paint(tmp_path / "only" / "b.JPG", "red")
    (tmp_path / "notes.txt").write_text("no image")
    data = read(tmp_path)
    assert len(data) == 2
    assert {sample.label for sample in data} == {None}
    assert data.classes == ()


def test_images_are_resized_and_said_to_be(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", "green", (30, 20))
    data = read(tmp_path)
    (sample,) = data
    assert pixels(sample).shape == (6, 6, 3)
    assert pixels(sample).dtype == np.uint8
    assert (pixels(sample) == (0, 255, 0)).all()
    assert any("resized to 6x6 (the first is 20x30)" in note for note in data.notes)
    assert any("0..255" in note for note in data.notes)
    assert not any("0..255" in note for note in read(tmp_path, Preprocess(rescale=1 / 255)).notes)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_images_of_every_mode_become_colour(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 6), (255, 255, 255)).convert(mode)
    image.save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    (sample,) = read(tmp_path)
    assert (pixels(sample) == 255).all()


def test_image_of_16_bits_is_refused_before_it_saturates(tmp_path: Path) -> None:
    Image.new("I;16", (6, 6), 300).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: has more than 8 bits per channel"):
        list(read(tmp_path))


def test_folders_named_by_numbers_are_those_classes(tmp_path: Path) -> None:
    for name in ("10", "3"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (6, 6)).save(tmp_path / name / "a.png")
    assert [sample.label for sample in read(tmp_path)] == [10, 3]


def test_csv_of_a_spreadsheet_with_targets(tmp_path: Path) -> None:
    Image.new("RGB", (6, 6)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("\ufefffile,target\na.png,-0.5\n", encoding="utf-8")
    (sample,) = read(tmp_path)
    assert sample.label == -0.5


def test_pictures_taken_upright_are_turned(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 6), COLOURS["red"])
    image.paste(COLOURS["blue"], (0, 0, 6, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    (sample,) = read(tmp_path)
    right, left = pixels(sample)[:, -1], pixels(sample)[:, 0]
    assert (right == COLOURS["blue"]).all()
    assert (left == COLOURS["red"]).all()


# Lists of images


def write_csv(folder: Path, *lines: str) -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("head", "labels", "wanted"),
    [("file,class_index", "7,3", [7, 3]), ("Filename, Label ", "red,blue", [1, 0]), ("path,y", "0,0", [0, 0])],
)
def test_csv_of_images(head: str, labels: str, wanted: list[int], tmp_path: Path) -> None:
    paint(tmp_path / "beside.png", "red")
    paint(tmp_path / "list" / "inside.png", "blue")
    first, second = labels.split(",")
    data = load_data(str(write_csv(tmp_path, head, f"beside.png,{first}", f"inside.png,{second}")), of_classes(2))
    assert [sample.label for sample in data] == wanted
    assert len(data) == 2


def test_csv_without_labels(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", "red")
    assert [sample.label for sample in read(write_csv(tmp_path, "image,author", "a.png,me"))] == [None]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label"], "it lists no images"),
        (["name,label", "a.png,1"], "no column file or filename or path or image; it has name, label"),
        (["file,label", "gone.png,1"], "'gone.png', which is neither beside it nor in list/"),
        (["label,file", "1"], "it lists '', which is neither"),
        (["file,label", "a.png"], "row 1 has no label"),
        (["file,label", "a.png,"], "row 1 has no label"),
    ],
)
def test_bad_csv(lines: list[str], message: str, tmp_path: Path) -> None:
    paint(tmp_path / "a.png", "red")
    with pytest.raises(DataError, match=message):
        read(write_csv(tmp_path, *lines))


def test_csv_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(DataError, match=r"list\.csv: cannot be read"):
        read(tmp_path / "list.csv")


# Arrays


def test_npy_rows_are_samples_read_one_by_one(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(7))
    data = read(tmp_path / "x.npy")
    assert len(data) == 7
    for sample, row in zip(data, images(7), strict=True):
        np.testing.assert_array_equal(pixels(sample), row)
    assert [sample.source[-3:] for sample in data][:2] == ["[0]", "[1]"]


def test_npz_with_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "xy.npz", x=images(5), y=np.arange(5) * 2)
    assert [sample.label for sample in read(tmp_path / "xy.npz")] == [0, 2, 4, 6, 8]


def test_npz_of_named_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "named.npz", left=images(3), right=np.arange(3))
    first, *_ = read(tmp_path / "named.npz")
    assert isinstance(first.inputs, dict)
    assert set(first.inputs) == {"left", "right"}
    assert first.inputs["right"] == 0


def test_npz_without_pickled_objects_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="not a readable NumPy file"):
        read(tmp_path / "odd.npz")


def test_suffix_in_capitals_and_wrong_suffix(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(2))
    (tmp_path / "x.npy").rename(tmp_path / "X.NPY")
    assert len(read(tmp_path / "X.NPY")) == 2
    (tmp_path / "X.NPY").rename(tmp_path / "x.npz")
    with pytest.raises(DataError, match="not a readable NumPy file"):
        read(tmp_path / "x.npz")


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=80), st.integers(0, 200), st.integers(0, 255))
def test_damaged_numpy_files_are_refused_or_read(junk: bytes, place: int, value: int) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(12.0).reshape(3, 4))
    content = bytearray(buffer.getvalue())
    content[place % len(content)] = value
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("junk.npy", b"\x93NUMPY\x01\x00" + junk), ("junk.npz", junk), ("x.npz", bytes(content))):
            path = Path(folder) / name
            path.write_bytes(data)
            with contextlib.suppress(DataError):
                list(read(path))


# Functions

FEED = """
import numpy

def arrays():
    yield from numpy.arange(4.0)

def pairs():
    for number in range(3):
        yield numpy.full((6, 6, 3), number), number

def dicts():
    yield {"x": numpy.ones((6, 6, 3))}

def two_arrays():
    yield numpy.ones(2), numpy.zeros(3)

def samples():
    from tersor import Sample
    yield Sample(numpy.ones((6, 6, 3)), 1, "camera 5")
"""


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "feed_of_data.py").write_text(FEED)
    monkeypatch.chdir(tmp_path)
    return "feed_of_data"


def test_function_yields_arrays_pairs_dicts_and_samples(feed: str) -> None:
    assert [float(pixels(s)) for s in read(f"{feed}:arrays")] == [0, 1, 2, 3]
    assert [(s.label, float(pixels(s).max())) for s in read(f"{feed}:pairs")] == [(0, 0), (1, 1), (2, 2)]
    (named,) = read(f"{feed}:dicts")
    assert isinstance(named.inputs, dict)
    (several,) = read(f"{feed}:two_arrays")
    assert isinstance(several.inputs, tuple)
    assert several.label is None
    (own,) = read(f"{feed}:samples")
    assert (own.label, own.source) == (1, "camera 5")


def test_function_is_called_anew_for_each_pass_and_normalized(feed: str) -> None:
    data = read(f"{feed}:pairs", Preprocess(rescale=0.5))
    for _ in range(2):
        assert [float(pixels(s).max()) for s in data] == [0, 0.5, 1]


def test_data_of_unknown_size_is_cut_as_it_comes(feed: str) -> None:
    data = read(f"{feed}:arrays")
    first, rest = data.split(3)
    assert [float(pixels(s)) for s in first] == [0, 1, 2]
    assert [float(pixels(s)) for s in rest] == [3]
    with pytest.raises(TypeError, match="not known beforehand"):
        len(data)


# Splitting


@given(st.integers(0, 60), st.integers(0, 70), st.integers(0, 5))
def test_parts_are_disjoint_and_together_everything(size: int, first: int, seed: int) -> None:
    data = from_iterable([np.array(number) for number in range(size)])
    tune, report = data.split(first, seed)
    mine, theirs = ([int(pixels(sample)) for sample in part] for part in (tune, report))
    assert len(tune) == len(mine) == min(first, size)
    assert sorted(mine + theirs) == list(range(size))
    assert [int(pixels(s)) for s in data.split(first, seed)[0]] == mine


def test_data_sorted_by_class_is_not_cut_by_class() -> None:
    data = from_iterable([Sample(np.zeros(1), number // 100) for number in range(1000)])
    counts = Counter(sample.label for sample in data.split(100)[0])
    assert len(counts) == 10
    assert max(counts.values()) < 25


def test_part_of_a_part(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(10.0))
    half, _ = read(tmp_path / "x.npy").split(5)
    quarter, other = half.split(2)
    assert {float(pixels(s)) for s in quarter} | {float(pixels(s)) for s in other} == {float(pixels(s)) for s in half}
    assert (len(quarter), len(other)) == (2, 3)


# Normalization


def test_rescale_and_mean_and_std() -> None:
    values = np.array([[0, 255], [51, 102]], np.uint8)
    np.testing.assert_allclose(Preprocess(rescale=1 / 255).apply(values), [[0.0, 1.0], [0.2, 0.4]])
    np.testing.assert_allclose(Preprocess(mean=(51,), std=(51,)).apply(values), [[-1, 4], [0, 1]])
    np.testing.assert_allclose(Preprocess(mean=(0, 102), std=(51, 1)).apply(values), [[0, 153], [1, 0]])
    np.testing.assert_allclose(Preprocess(std=(51,)).apply(values), [[0, 5], [1, 2]])
    assert Preprocess().apply(values) is values
    assert all(p.apply(values).dtype == np.float32 for p in (Preprocess(2.0), Preprocess(mean=(1,))))


def test_normalization_in_words() -> None:
    words = [str(p) for p in (Preprocess(), Preprocess(0.5), Preprocess(mean=(1, 2, 3)))]
    assert words == ["as they are", "x * 0.5", "(x - 1,2,3) / 1"]


def test_bad_normalization() -> None:
    wrong: tuple[tuple[float | None, tuple[float, ...]], ...] = ((1.0, (1.0,)), (None, (0.0,)), (float("nan"), ()))
    for rescale, std in wrong:
        with pytest.raises(RecipeError, match=r"--rescale|--std"):
            Preprocess(rescale=rescale, std=std)
    with pytest.raises(DataError, match="--mean has 2 values, the data has 3 channels"):
        Preprocess(mean=(1.0, 2.0)).apply(np.zeros((4, 3)))


# Fitting


@dataclass(frozen=True)
class Port:
    name: str = "x"
    shape: tuple[int, ...] = (1, 4, 4, 1)
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0


@pytest.mark.parametrize("shape", [(1, 4, 4, 1), (4, 4, 1), (4, 4), (1, 4, 4)])
def test_missing_batch_and_channel_dimensions_are_added(shape: tuple[int, ...]) -> None:
    (array,) = fit(np.arange(16.0).reshape(shape), [Port()])
    assert array.shape == (1, 4, 4, 1)
    assert array.dtype == np.float32
    assert array.ravel().tolist() == list(range(16))


@pytest.mark.parametrize("shape", [(16,), (4, 4, 2), (2, 4, 4, 1), (4, 1, 4), ()])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"sample 3: input 'x' has shape .*, the model expects 1x4x4x1"):
        fit(np.zeros(shape), [Port()], 3)


def test_open_dimensions_take_any_size() -> None:
    port = Port(shape=(-1, -1, 3))
    assert fit(np.zeros((9, 3)), [port])[0].shape == (1, 9, 3)
    assert fit(np.zeros((2, 7, 3)), [port])[0].shape == (2, 7, 3)
    with pytest.raises(DataError, match=r"expects \?x\?x3"):
        fit(np.zeros((9, 4)), [port])


def test_reals_are_quantized_at_an_integer_door() -> None:
    port = Port(shape=(1, 4), dtype="int8", scale=0.5, zero_point=10)
    (array,) = fit(np.array([0.0, 1.0, -1000.0, 1000.0]), [port])
    assert array.dtype == np.int8
    assert array.tolist() == [[10, 12, -128, 127]]


def test_source_names_the_sample() -> None:
    with pytest.raises(DataError, match=r"sample 2 \(cat\.jpg\): input 'x' contains NaN"):
        fit(Sample(np.full((4, 4), np.nan), source="cat.jpg"), [Port()], 2)


# What the command line takes


def test_every_kind_keeps_the_contract() -> None:
    for kind in KINDS:
        module = registry.plugin("data", kind)
        assert module.accepts.__doc__
        assert module.load.__doc__
        assert not module.accepts("no such thing")


def test_inputs_one_after_the_other(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", "red")
    np.save(tmp_path / "x.npy", images(2))
    samples = list(load_inputs([str(tmp_path / "a.png"), str(tmp_path / "x.npy")], classifier()))
    assert len(samples) == 3
