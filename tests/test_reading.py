"""Files that are read several at a time, and files that cannot be read."""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Cli
from small_nets import classifier, of_classes
from tersor.data.reading import read_ahead
from tersor.errors import DataError, TersorWarning
from tersor.ir.graph import Array
from tersor.stages.load_data import load_data


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


def pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (6, 6), (number, 0, 0)).save(path)
    return paths


def test_two_files_are_read_at_a_time_and_given_in_order(two_processors: None) -> None:
    together = threading.Barrier(2, timeout=30)

    def read(place: int) -> Array:
        if place in (1, 2):  # the first is read before any thread is started
            together.wait()
        return np.array(place)

    assert [(place, int(np.asarray(value))) for place, value in read_ahead(read, range(9))] == [
        (number, number) for number in range(9)
    ]


def test_few_files_are_read_before_they_are_asked_for(two_processors: None) -> None:
    seen: list[int] = []

    def read(place: int) -> Array:
        seen.append(place)
        return np.array(place)

    values = read_ahead(read, iter(range(10_000)))
    next(values)
    assert seen == [0]
    for _ in range(20):
        next(values)
    values.close()
    assert len(seen) < 40


def test_order_of_a_folder_does_not_depend_on_threads(two_processors: None, tmp_path: Path) -> None:
    pictures(tmp_path / "p", 40)
    data = load_data(str(tmp_path / "p"), classifier())
    assert [int(np.asarray(sample.inputs)[0, 0, 0]) for sample in data] == list(range(40))
    first, rest = data.split(10)
    wanted = {
        int(Path(sample.source).stem): int(np.asarray(sample.inputs).max()) for part in (first, rest) for sample in part
    }
    assert wanted == {number: number for number in range(40)}


def test_file_that_cannot_be_read_is_refused_and_the_way_out_is_named(two_processors: None, tmp_path: Path) -> None:
    paths = pictures(tmp_path / "p", 12)
    paths[7].write_bytes(b"no image")
    with pytest.raises(DataError, match=r"007\.png: not a readable image.*--skip-bad"):
        list(load_data(str(tmp_path / "p"), classifier()))


@pytest.mark.parametrize("bad", [0, 7, 11])
def test_bad_file_is_named_once_and_left_out(two_processors: None, tmp_path: Path, bad: int) -> None:
    paths = pictures(tmp_path / "p", 12)
    paths[bad].write_bytes(paths[bad].read_bytes()[:40])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_data(str(tmp_path / "p"), classifier(), skip_bad=True)
        for _ in range(2):
            assert [int(Path(sample.source).stem) for sample in data] == [n for n in range(12) if n != bad]
    assert [item.category for item in caught] == [TersorWarning]
    assert f"left out: {paths[bad]}" in str(caught[0].message)


def test_many_bad_files_do_not_fill_the_screen(tmp_path: Path) -> None:
    for path in pictures(tmp_path / "p", 40)[1:]:
        path.write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(load_data(str(tmp_path / "p"), classifier(), skip_bad=True))) == 1
    assert len(caught) == 11


def test_nothing_but_bad_files(tmp_path: Path) -> None:
    for path in pictures(tmp_path / "p", 2):
        path.write_bytes(b"")
    with pytest.warns(TersorWarning), pytest.raises(DataError, match="none of the 2 images can be read"):
        load_data(str(tmp_path / "p"), classifier(), skip_bad=True)


def test_csv_that_lists_a_missing_file(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    (tmp_path / "l.csv").write_text("file,label\n000.png,1\ngone.png,0\n001.png,0\n")
    with pytest.raises(DataError, match=r"'gone\.png', which is neither .*--skip-bad"):
        load_data(str(tmp_path / "l.csv"), classifier())
    with pytest.warns(TersorWarning, match=r"left out: .*gone\.png"):
        data = load_data(str(tmp_path / "l.csv"), classifier(), skip_bad=True)
    assert [sample.label for sample in data] == [1, 0]


def test_skip_bad_on_the_command_line(cli: Cli, place: Path) -> None:
    paths = pictures(place / "p", 30)
    paths[4].write_bytes(b"GIF89a")
    command = ("quantize", "net.tflite", "--data", "p", "--rescale", "1/255", "--samples", "20", "--as", "int8")
    answer = cli(*command)
    assert answer.code == 4
    assert answer.err.count("\n") <= 3
    assert "004.png" in answer.err
    answer = cli(*command, "--skip-bad")
    assert answer.code == 0, answer.err
    assert answer.err.count("left out") == 1


@pytest.mark.parametrize(
    ("count", "message"), [(3, "its 3 classes (a, b, c) are not the model's 5"), (6, "(a, b, ..., f)")]
)
def test_folders_that_are_not_the_models_classes(tmp_path: Path, count: int, message: str) -> None:
    for name in "abcdef"[:count]:
        pictures(tmp_path / "p" / name, 1)
    with pytest.raises(DataError) as refused:
        load_data(str(tmp_path / "p"), classifier())
    assert message in str(refused.value)
    assert len(load_data(str(tmp_path / "p"), of_classes(count)).classes) == count
    assert len(load_data(str(tmp_path / "p"), of_classes(1))) == count  # one score: nothing is known
