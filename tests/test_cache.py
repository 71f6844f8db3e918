"""The cache gives back what was put, to whoever asks, in bounded space, and never stands in the way."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from small_nets import classifier, images, statistics
from tersor import cache as module
from tersor.cache import Cache, Contents, digest, user_cache
from tersor.ir.dtypes import DType
from tersor.recipe import load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate


def test_what_is_put_is_found(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "made" / "when needed")
    assert cache.get("a") is None
    assert not cache.path.parent.exists(), "looking makes nothing"
    for value in ([1.5, float("inf")], {"x": None}, "text", 0):
        cache.put("a", value)
        assert Cache(cache.path.parent).get("a") == value
    assert cache.get("b") is None
    assert cache.contents().entries == 1
    cache.clear()
    assert cache.contents() == Contents(0, 0)
    assert cache.get("a") is None


def test_space_is_bounded_and_what_is_used_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FRESH", 0.0)
    cache = Cache(tmp_path, limit=20_000)
    cache.put("first", "x" * 900)
    for number in range(100):
        cache.put(str(number), "x" * 900)
        time.sleep(0.001)
        assert cache.get("first") is not None
    held = cache.contents()
    assert held.size_bytes <= 20_000
    assert held.entries >= 15
    assert cache.get("99") is not None
    assert cache.get("1") is None
    assert cache.path.stat().st_size < 60_000


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_an_empty_cache(content: bytes, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.path.write_bytes(content)
    assert cache.get("a") is None
    cache.put("a", 1)
    cache.put("a", 2)
    assert cache.get("a") == 2


def test_a_damaged_value_is_not_found(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("a", [1.25, 2.5])
    content = cache.path.read_bytes()
    cache.path.write_bytes(content.replace(b"[1.25, 2.5]", b"[7.25, 2.5]"))
    assert content != cache.path.read_bytes()
    assert cache.get("a") is None


def test_another_table_is_left_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    connection = sqlite3.connect(cache.path)
    connection.execute("CREATE TABLE entries (something TEXT)")
    connection.close()
    cache.put("a", 1)
    assert cache.get("a") is None


def test_a_locked_cache_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    cache = Cache(tmp_path)
    cache.put("a", 1)
    connection = sqlite3.connect(cache.path)
    connection.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    cache.put("a", 2)
    assert cache.get("a") is None
    assert time.monotonic() - start < 5
    connection.close()
    assert cache.get("a") == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "folder")
    cache.put("a", 1)
    assert cache.get("a") is None
    assert cache.contents() == Contents(0, 0)
    cache.clear()


def test_processes_do_not_disturb_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tersor.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "for n in range(40): cache.put(f'{sys.argv[2]} {n}', n); assert cache.get(f'{sys.argv[2]} {n}') == n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)]) for number in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    cache = Cache(tmp_path)
    assert all(cache.get(f"{process} {number}") == number for process in range(4) for number in range(40))


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERSOR_CACHE", "off")
    assert user_cache() is None
    monkeypatch.setenv("TERSOR_CACHE", str(tmp_path / "mine"))
    assert user_cache().path.parent == tmp_path / "mine"  # type: ignore[union-attr]
    monkeypatch.delenv("TERSOR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    for platform, variable, wanted in (
        ("linux", "XDG_CACHE_HOME", tmp_path / ".cache"),
        ("darwin", "", tmp_path / "Library" / "Caches"),
        ("win32", "LOCALAPPDATA", tmp_path / "AppData" / "Local"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        if variable:
            monkeypatch.delenv(variable, raising=False)
        assert user_cache().path.parent == wanted / "tersor"  # type: ignore[union-attr]
        if variable:
            monkeypatch.setenv(variable, str(tmp_path / "set"))
            assert user_cache().path.parent == tmp_path / "set" / "tersor"  # type: ignore[union-attr]


def test_digests_tell_values_apart() -> None:
    array = np.arange(6, dtype=np.float32)
    values = [
        None, True, 1, 1.0, "1", b"1", (1,), ("1",), (1, (2,)), ((1, 2),), (1, 2), {1: 2}, frozenset({1}), array,
        array.reshape(2, 3), array.astype(np.int32), array.astype(np.float64), array[::-1], DType.INT8, DType.INT16, "",
        (), {}, ("", ""), np.float32(1), np.array(["a", "b"]), np.array(["a", "c"], object),
    ]  # fmt: skip
    digests = [digest(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digests == [digest(value) for value in values]
    assert digest(1, 2) != digest((1, 2))
    assert digest(array[::2]) == digest(array[::2].copy())
    assert digest(np.array(["a", "c"], object)) == digest(np.array(["a", "c"], object))
    with pytest.raises(TypeError, match="no digest of a object"):
        digest(object())


def test_digests_of_what_is_measured(engine: Engine) -> None:
    model = classifier()
    assert digest(model) == digest(classifier())
    assert digest(model) == digest(replace(model, source="elsewhere"))
    tensor = next(tensor for tensor in model.graph.tensors.values() if tensor.data is not None)
    assert tensor.data is not None
    other = tensor.with_data(tensor.data + np.float32(1e-6))
    assert digest(model) != digest(model.with_graph(model.graph.edit(tensors=[other])))
    assert digest(load_recipe("int8")) != digest(load_recipe("uint8"))
    for observer in ("min_max", "percentile", "auto"):
        samples = list(images(12))
        seen = calibrate(model, samples, observer, engine=engine)
        before = digest(seen)
        seen.range("conv")
        again = calibrate(model, samples[::-1], observer, engine=engine, threads=3)
        assert digest(seen) == before == digest(again), "the order of samples does not matter"
        assert digest(calibrate(model, samples[1:], observer, engine=engine)) != before
    assert digest(statistics({"x": (0, 1)})) != digest(statistics({"x": (0, 2)}))


def test_digests_follow_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(1)
    monkeypatch.setattr(module, "_programs", lambda: ("another version",))
    assert digest(1) != before
