"""An external delegate in this process, and what it took of a network.

Its library has two C functions, `tflite_plugin_create_delegate` and `tflite_plugin_destroy_delegate`
(`tflite/delegates/external/external_delegate_interface.h`); what the first returns is given to the interpreter. That is
done here and not by `ai_edge_litert.interpreter.load_delegate` (2.3), which loses messages that are not UTF-8, drops
the function that takes them while the library may still call it, and destroys delegates that were never created.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any

from tersor.errors import RuntimeFailure
from tersor.runtimes.delegate import KNOWN, Delegate, how_to_install
from tersor.runtimes.isolation import Channel

_RESTORED = "Restored original execution plan after delegate application failure."
"""What LiteRT adds to the message of a delegate that fails, without a space."""


def serve(channel: Channel) -> None:
    """A child that tries to load the delegate it is sent: answers "ok" or its error."""
    LoadedDelegate(channel.receive())
    channel.send(("ok", None))


class LoadedDelegate:
    """A delegate in this process, which it may crash. It has to live as long as the interpreter that uses it.

    Raises RuntimeFailure if the library is missing, is none, or does not create a delegate.
    """

    def __init__(self, asked: Delegate) -> None:
        self._pointer = None
        self._library = _library(asked)
        self._messages: list[bytes] = []
        take = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
        self._take = take(lambda text: self._messages.append(text or b""))  # kept: the library may call it later
        texts = ctypes.c_char_p * len(asked.options)
        keys = texts(*(os.fsencode(key) for key, _ in asked.options))
        values = texts(*(os.fsencode(value) for _, value in asked.options))
        create = self._library.tflite_plugin_create_delegate
        create.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_char_p), ctypes.c_size_t, take]
        create.restype = ctypes.c_void_p
        self._pointer = create(keys, values, len(asked.options), self._take)
        if self._pointer is None:
            raise RuntimeFailure(f"delegate {asked.name}: {self._told() or _silence(asked)}")

    def _told(self) -> str:
        return " ".join(b" ".join(self._messages).decode("utf-8", "backslashreplace").split())

    def _get_native_delegate_pointer(self) -> int | None:
        """What LiteRT's interpreter asks for."""
        return self._pointer

    def __del__(self) -> None:
        """Destroy it; LiteRT lets go of it after the interpreter."""
        if getattr(self, "_pointer", None) is not None:
            destroy = self._library.tflite_plugin_destroy_delegate
            destroy.argtypes, destroy.restype = [ctypes.c_void_p], None
            destroy(self._pointer)
            self._pointer = None


def _library(asked: Delegate) -> ctypes.CDLL:
    """The library. Raises RuntimeFailure if it does not load or is no delegate."""
    known = asked.name in KNOWN
    try:
        library = ctypes.CDLL(asked.library)
    except OSError as error:
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if known and asked.library in told and "o such file" in told:
            raise RuntimeFailure(
                f"delegate {asked.name}: there is no {asked.library} on this system: {how_to_install(asked.name)}, or "
                "give the library's path to --delegate"
            ) from error
        why = told.removeprefix(f"{asked.library}: ")
        raise RuntimeFailure(f"delegate {asked.name}: {asked.library} does not load: {why}") from error
    for function in ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate"):
        if not hasattr(library, function):
            raise RuntimeFailure(f"delegate {asked.name}: {asked.library} is no delegate: it has no {function}")
    return library


def _silence(asked: Delegate) -> str:
    given = " ".join(f"{key}={value}" for key, value in asked.options)
    means = KNOWN[asked.name].absent if asked.name in KNOWN else "it does not say why"
    return f"was not created{f' with {given}' if given else ''}: {means}"


@dataclass(frozen=True)
class Share:
    """What a delegate took of a model's main graph.

    Attributes:
        operators: the kind of each operator, in the file's order.
        pieces: the places of the operators of each piece that the delegate runs in one go.
    """

    operators: tuple[str, ...]
    pieces: tuple[tuple[int, ...], ...]

    @property
    def taken(self) -> tuple[int, ...]:
        """The places of the operators that the delegate runs."""
        return tuple(sorted({place for piece in self.pieces for place in piece}))


def share_of(interpreter: Any) -> Share:
    """What was taken, as an interpreter tells that has a delegate and no tensors yet.

    Later XNNPACK adds pieces of its own, which look alike. A piece is all between what it reads and what it writes.
    """
    nodes = interpreter._get_ops_details()
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    makes = {int(name): place for place, node in enumerate(own) for name in node["outputs"]}
    pieces = []
    for piece in (node for node in nodes if node["op_name"] == "DELEGATE"):
        reads, waiting = set(map(int, piece["inputs"])), list(map(int, piece["outputs"]))
        found: set[int] = set()
        while waiting:
            name = waiting.pop()
            if name not in reads and name in makes and makes[name] not in found:
                found.add(makes[name])
                waiting += map(int, own[makes[name]]["inputs"])
        pieces.append(tuple(sorted(found)))
    return Share(tuple(node["op_name"] for node in own), tuple(pieces))


def failure_of(error: Exception) -> str:
    """What went wrong, without what LiteRT adds where a delegate fails."""
    return str(error).replace(_RESTORED, "").strip()
