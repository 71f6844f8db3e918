"""What was measured once, kept on disk under a digest of everything that it follows from.

A table of SQLite, whose transactions keep concurrent processes apart; values are JSON, so that nothing read back can
run. A cache only saves time: one that is locked, damaged, full or not writable counts as empty, and never raises.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tersor.ir.graph import Array

_T = TypeVar("_T")

LIMIT = 64 << 20
"""Bytes of values that are kept; what was not used for longest goes first."""

_TABLE = (
    "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB, checksum INTEGER, size INTEGER, used REAL)"
)

_SELECT = "SELECT value, checksum, used FROM entries WHERE key = ?"

_FRESH = 3600.0
"""Seconds within which a further use is not noted."""

_PATIENCE = 5.0
"""Seconds to wait for another process that is writing."""


@dataclass(frozen=True)
class Contents:
    """What a cache holds: how many values, and their bytes."""

    entries: int
    size_bytes: int


class Cache:
    """Values by key.

    Args:
        folder: where it lies; made when something is put.
        limit: bytes of values to keep.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.path = folder / "cache.sqlite"
        self._limit = limit

    def get(self, key: str) -> Any | None:
        """The value that was put under a key, None if there is none."""
        found = self._ask(lambda table: table.execute(_SELECT, (key,)).fetchone(), make=False)
        if found is None or zlib.crc32(found[0]) != found[1]:
            return None
        if time.time() - found[2] > _FRESH:
            self._ask(lambda table: table.execute("UPDATE entries SET used = ? WHERE key = ?", (time.time(), key)))
        return json.loads(found[0])

    def put(self, key: str, value: Any) -> None:
        """Keep a value that JSON can hold, as far as that is possible."""
        content = json.dumps(value).encode()
        row = (key, content, zlib.crc32(content), len(key) + len(content), time.time())

        def insert(table: sqlite3.Connection) -> None:
            table.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)
            self._make_room(table)

        self._ask(insert)

    def contents(self) -> Contents:
        """What it holds."""
        query = "SELECT count(*), coalesce(sum(size), 0) FROM entries"
        found = self._ask(lambda table: table.execute(query).fetchone(), make=False)
        return Contents(*(found or (0, 0)))

    def clear(self) -> None:
        """Forget everything, as far as that is possible."""
        self._ask(lambda table: table.execute("DELETE FROM entries"), make=False)

    def _make_room(self, table: sqlite3.Connection) -> None:
        (size,) = table.execute("SELECT sum(size) FROM entries").fetchone()
        if size <= self._limit:
            return
        oldest = table.execute("SELECT key, size FROM entries ORDER BY used").fetchall()
        for key, own in oldest:
            if size <= self._limit * 0.9:  # some room more, so that not every further value has to make it
                return
            table.execute("DELETE FROM entries WHERE key = ?", (key,))
            size -= own

    def _ask(self, question: Callable[[sqlite3.Connection], _T], *, make: bool = True) -> _T | None:
        """Ask the table in a transaction; None where it cannot be used. A damaged one is removed."""
        try:
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.exists():
                return None
            with contextlib.closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as connection, connection:
                connection.execute("PRAGMA synchronous = OFF")  # what a crash of the machine damages is measured again
                connection.execute(_TABLE)
                return question(connection)
        except sqlite3.OperationalError:  # locked, read-only, or no room
            return None
        except sqlite3.DatabaseError:
            self._remove()
            return None
        except OSError:
            return None

    def _remove(self) -> None:
        for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def user_cache() -> Cache | None:
    """The cache in the user's folder for such files, or in that which TERSOR_CACHE names; None if that is "off"."""
    wish = os.environ.get("TERSOR_CACHE", "")
    if wish == "off":
        return None
    return Cache(Path(wish) if wish else _user_folder() / "tersor")


def _user_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def digest(*values: object) -> str:
    """What stands for values and for the programs that compute with them: the same wherever and whenever it is made.

    Args:
        values: None, numbers, text, bytes, arrays, enumerations, dataclasses (by the fields that they are compared by),
            and sequences, mappings and sets of such.

    Raises TypeError for anything else.
    """
    state = hashlib.sha256()
    for part in _parts((_programs(), values)):
        state.update(part)
    return state.hexdigest()


def _parts(value: object) -> Iterator[bytes | memoryview]:
    """A value as bytes; each kind starts with its name and its length, so that no two values give the same."""
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        yield f"{type(value).__name__} {len(content)}:".encode()
        yield content
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype.str} {value.shape}:".encode()
        yield repr(value.tolist()).encode() if value.dtype.hasobject else _bytes(value)
    elif isinstance(value, Enum):
        yield f"enum {type(value).__qualname__}.{value.name};".encode()
    elif value is None or isinstance(value, bool | int | float | np.generic):
        yield f"{type(value).__name__} {value!r};".encode()
    else:
        yield from _whole(value)


def _whole(value: object) -> Iterator[bytes | memoryview]:
    """A value that is made of others."""
    kind = type(value)
    items: list[object]
    if isinstance(value, Mapping):
        items = [item for pair in value.items() for item in pair]
    elif isinstance(value, frozenset | set):
        items = sorted(value, key=repr)
    elif isinstance(value, tuple | list):
        items = list(value)
    elif kind.__reduce__ is not object.__reduce__:
        items = list(kind.__reduce__(value)[1])
    elif is_dataclass(value):
        items = [getattr(value, field.name) for field in fields(value) if field.compare]
    else:
        raise TypeError(f"no digest of a {kind.__qualname__}")
    name = "mapping" if isinstance(value, Mapping) else kind.__qualname__
    yield f"{name} {len(items)}:".encode()
    for item in items:
        yield from _parts(item)


def _bytes(values: Array) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


@lru_cache(maxsize=1)
def _programs() -> tuple[str, ...]:
    """The code that computes: tersor's own, whatever its version says, the packages and the machine below it."""
    folder = Path(__file__).parent
    own = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        own.update(f"{path.relative_to(folder).as_posix()} ".encode())
        own.update(path.read_bytes())
    below = (f"{name} {importlib.metadata.version(name)}" for name in ("ai-edge-litert", "numpy"))
    return (own.hexdigest(), *below, platform.machine(), platform.system())
