"""HDF5 as Keras writes it, without the library: the same arrays, nothing of what is otherwise, and no damage that gets
through."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from tersor.formats.keras.plain_hdf5 import Group, Stored, read_plain

TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


def written(fill: Callable[[Any], object], **options: Any) -> memoryview:
    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        fill(file)
    return memoryview(content.getvalue())


def network(file: Any) -> None:
    """Enough layers for symbol tables in several nodes and levels, and attributes as Keras has them."""
    random = np.random.default_rng(0)
    for number in range(700):
        layer = file.create_group(f"layers/layer_{number}")
        layer.attrs["name"] = "a name"
        variables = layer.create_group("vars")
        for place in range(number % 4):
            dtype = TYPES[(number + place) % len(TYPES)]
            variables[str(place)] = (100 * random.random((2,) * place + (3,))).astype(dtype)
    file["layers/scalar/vars/0"] = np.float32(3)
    file["layers/layer_3/seed/vars/0"] = np.array([1, 2], "u4")
    file["layers/layer_5/optimizer/vars/0"] = np.ones(2, "f4")


def same(mine: Group, theirs: Any) -> bool:
    """Whether all is there, in the same order, with the same types, shapes and values."""
    if list(mine) != list(theirs):
        return False
    for name, item in mine.items():
        if isinstance(item, Group):
            if not same(item, theirs[name]):
                return False
        else:
            expected = theirs[name][()]
            if item.dtype != theirs[name].dtype or not np.array_equal(item.read(), expected):
                return False
    return True


def test_arrays_are_those_of_the_library() -> None:
    content = written(network)
    found = read_plain(content)
    assert found is not None
    with h5py.File(io.BytesIO(content), "r") as file:
        assert same(found, file)
    assert found.size == sum(item.size for item in arrays(found))


def arrays(group: Group) -> list[Stored]:
    inner = [arrays(item) if isinstance(item, Group) else [item] for item in group.values()]
    return [item for items in inner for item in items]


def test_what_is_read_is_a_copy() -> None:
    content = bytearray(written(lambda file: file.create_dataset("a", data=np.ones(3, "f4"))))
    found = read_plain(memoryview(content))
    assert found is not None
    values = next(item for item in arrays(found)).read()
    content[:] = bytes(len(content))
    assert values.tolist() == [1, 1, 1]


def test_an_optimizer_at_the_root_is_left_out() -> None:
    def fill(file: Any) -> None:
        file["layers/dense/vars/0"] = np.ones(4, "f4")
        file["optimizer/vars/0"] = np.ones(100, "f4")

    found = read_plain(written(fill))
    assert found is not None
    assert list(found) == ["layers"]
    assert found.size == 16


def soft_link(file: Any) -> None:
    file["layers/a"] = np.ones(3)
    file["layers/b"] = h5py.SoftLink("/layers/a")


def external_link(file: Any) -> None:
    file["layers/b"] = h5py.ExternalLink("/elsewhere.h5", "/secret")


def loop(file: Any) -> None:
    file.create_group("layers/a")
    file["layers/a/again"] = file["layers"]


OTHERWISE: dict[str, Callable[[Any], object]] = {
    "soft link": soft_link,
    "external link": external_link,
    "loop": loop,
    "chunks": lambda file: file.create_dataset("a", data=np.ones(30), chunks=(10,)),
    "compressed": lambda file: file.create_dataset("a", data=np.ones(30), compression="gzip"),
    "compact": lambda file: file.create_dataset("a", data=np.ones(3), dcpl=compact()),
    "external file": lambda file: file.create_dataset("a", (3,), "f4", external=[("elsewhere", 0, 12)]),
    "text": lambda file: file.create_dataset("a", data="text"),
    "bytes": lambda file: file.create_dataset("a", data=np.array([b"abc"])),
    "truth values": lambda file: file.create_dataset("a", data=np.array([True])),
    "big-endian": lambda file: file.create_dataset("a", data=np.ones(3, ">f4")),
    "complex": lambda file: file.create_dataset("a", data=np.ones(3, "c8")),
    "without values": lambda file: file.create_dataset("a", (3,), "f4"),
    "named type": lambda file: (
        file.__setitem__("type", np.dtype("f4")),
        file.create_dataset("a", (3,), file["type"]),
    ),
}


def compact() -> Any:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_layout(h5py.h5d.COMPACT)
    return made


@pytest.mark.parametrize("what", OTHERWISE)
def test_nothing_is_taken_of_what_keras_does_not_write(what: str) -> None:
    assert read_plain(written(OTHERWISE[what])) is None


@pytest.mark.parametrize("options", [{"libver": "latest"}, {"userblock_size": 512}], ids=["newer", "behind a block"])
def test_nor_of_other_versions(options: dict[str, Any]) -> None:
    assert read_plain(written(lambda file: file.create_dataset("a", data=np.ones(3, "f4")), **options)) is None


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" + bytes(200)])
def test_nor_of_other_files(content: bytes) -> None:
    assert read_plain(memoryview(content)) is None


def test_a_hard_link_is_one_group_twice_however_often_that_doubles() -> None:
    def fill(file: Any) -> None:
        file["0/a"] = np.ones(1, "f4")
        for number in range(1, 60):
            for name in "ab":
                file[f"{number}/{name}"] = file[str(number - 1)]

    assert read_plain(written(fill)) is not None


def test_a_tree_that_repeats_itself_is_refused_at_once() -> None:
    """Two children of every node, one and the same, on 200 levels."""
    content = bytearray(written(lambda file: file.create_dataset("a", data=np.ones(3, "f4"))))
    node = bytes(content).index(b"TREE")
    level, children = 200, struct.pack("<QQQ", 0, len(content), 0) + struct.pack("<QQ", len(content), 0)
    content[node + 5], content[node + 6] = level, 2
    content[node + 24 : node + 24 + len(children)] = children
    while level:
        level -= 1
        child = len(content) + 24 + len(children)
        links = struct.pack("<QQQQQ", 0, child, 0, child, 0)
        content += struct.pack("<4sBBHQQ", b"TREE", 0, level, 2, 0, 0) + links
    assert read_plain(memoryview(content)) is None


def test_damage_ends_in_nothing_or_in_arrays_inside_the_file() -> None:
    whole = written(lambda file: [file.create_dataset(f"g{n}/{n}", data=np.ones(n + 1, "f4")) for n in range(12)])
    random = np.random.default_rng(1)
    taken = 0
    for _ in range(3000):
        content = bytearray(whole[: random.integers(len(whole))] if random.random() < 0.1 else whole)
        for place in random.integers(max(len(content), 1), size=random.integers(1, 4)):
            if content:
                content[place] = (0, 1, 0xFF, random.integers(256))[random.integers(4)]
        found = read_plain(memoryview(content))
        for item in arrays(found) if found is not None else ():
            assert item.read().nbytes == item.size
            taken += 1
    assert taken
