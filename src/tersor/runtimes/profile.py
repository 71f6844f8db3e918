"""What single operators take, by LiteRT's own profiler, which its Python package has, but only behind its C interface.

The C interface (`litert/c` in LiteRT's sources: litert_compiled_model.h, litert_profiler.h, litert_runtime_options.h)
is not promised to stay as it is. So it is called in a child process, which a wrong guess can only end, and what comes
back is believed only if it adds up. XNNPACK tells its operators in whole microseconds, rounded down.
"""

from __future__ import annotations

import ctypes
import importlib.util
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.errors import RuntimeFailure
from tersor.ir.graph import Array
from tersor.runtimes.isolation import Channel, Worker

_RUNTIME, _CPU = b"runtime_options_string", b"xnnpack"
"""What options of the runtime and of the CPU are called; both are TOML."""

_PLAIN, _NODE, _DELEGATE = 1, 2, (4, 8)
"""Kinds of events (`tflite/core/api/profiler.h`): anything; an operator of the graph; one within a delegate."""

_WARM = 3
_FEWEST, _MOST = 5, 200

_MEMORY_FIELDS = 3
_ADDS_UP = 1.2
"""Times of operators may be this much more than the whole that they are part of, as clocks are read for each."""


class _Event(ctypes.Structure):
    """`ProfiledEventData`."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * (2 * _MEMORY_FIELDS)),
        ("index", ctypes.c_int64),
        ("more", ctypes.c_int64),
        ("source", ctypes.c_int),
    )


@dataclass(frozen=True)
class OperatorTime:
    """An operator as it was run.

    Attributes:
        kind: what the kernels call it.
        node: its place among the graph's operators; None within XNNPACK, which fuses and renames them.
        us: microseconds of one run, mean over the middle half of the runs.
    """

    kind: str
    node: int | None
    us: float


@dataclass(frozen=True)
class Profile:
    """One run of a model.

    Attributes:
        operators: in the order in which they run.
        total_us: microseconds of the whole run, likewise.
        runs: how many there were.
    """

    operators: tuple[OperatorTime, ...]
    total_us: float
    runs: int


def profile(path: Path, inputs: Sequence[Array], threads: int = 1, seconds: float = 1.0) -> Profile:
    """Run a file on XNNPACK under LiteRT's profiler.

    Args:
        path: a `.tflite` file.
        inputs: one array per input, of its type and shape.
        threads: of one run.
        seconds: to run for, about.

    Raises RuntimeFailure if this LiteRT has no profiler that is understood here, or refuses the file.
    """
    with Worker("tersor.runtimes.profile:serve") as worker:
        worker.doing = f"profiling {path.name}"
        worker.send((str(path), list(inputs), threads, seconds))
        found: Profile = worker.receive()
    return found


def serve(channel: Channel) -> None:
    """The child: profiles one file."""
    path, inputs, threads, seconds = channel.receive()
    channel.send(("ok", _Profiled(path, threads).over(inputs, seconds)))


class _Profiled:
    """A model compiled with the profiler on."""

    def __init__(self, path: str, threads: int) -> None:
        self._library = _library()
        self._environment, self._model, self._options, self._compiled, self._profiler, self._signature = (
            ctypes.c_void_p() for _ in range(6)
        )
        self._call("CreateEnvironment", ctypes.c_int(0), None, ctypes.byref(self._environment))
        self._call("CreateModelFromFile", self._environment, path.encode(), ctypes.byref(self._model))
        self._call("CreateOptions", ctypes.byref(self._options))
        self._call("SetOptionsHardwareAccelerators", self._options, ctypes.c_int(1))
        self._add(_RUNTIME, "enable_profiling = true\n")
        self._add(_CPU, f"num_threads = {threads}\n")
        made = ctypes.byref(self._compiled)
        self._call("CreateCompiledModel", self._environment, self._model, self._options, made)
        self._call("CompiledModelGetProfiler", self._compiled, ctypes.byref(self._profiler))
        self._call("GetModelSignature", self._model, ctypes.c_size_t(0), ctypes.byref(self._signature))

    def over(self, inputs: Sequence[Array], seconds: float) -> Profile:
        """The times of as many runs as fit. Raises RuntimeFailure for times that do not add up."""
        sources, results = self._buffers("Input"), self._buffers("Output")
        if len(sources) != len(inputs):
            raise RuntimeFailure(f"the profiler sees {len(sources)} inputs, not {len(inputs)}")
        for buffer, values in zip(sources, inputs, strict=True):
            self._fill(buffer, values)
        begun = time.perf_counter()
        for _ in range(_WARM):
            self._run(sources, results)
        each = (time.perf_counter() - begun) / _WARM
        runs = [self._events(sources, results) for _ in range(max(_FEWEST, min(_MOST, int(seconds / each))))]
        if any([event[:2] for event in run] != [event[:2] for event in runs[0]] for run in runs):
            raise RuntimeFailure("the profiler tells other operators from run to run")
        totals = [sum(us for kind, _, us in run if kind == "Invoke") for run in runs]
        operators = tuple(
            OperatorTime(kind, node, _middle([run[place][2] for run in runs]))
            for place, (kind, node, _) in enumerate(runs[0])
            if kind != "Invoke"
        )
        total = _middle(totals)
        if not operators or not sum(item.us for item in operators) <= _ADDS_UP * total + len(operators):
            raise RuntimeFailure("the profiler's times do not add up: this version of LiteRT is not understood")
        return Profile(operators, total, len(runs))

    def _events(self, sources: Any, results: Any) -> list[tuple[str, int | None, int]]:
        """One run: what, where in the graph, and microseconds."""
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)
        self._run(sources, results)
        self._call("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * (2 * count.value + 8))()  # more than is told, in case an event is larger than is known here
        self._call("GetProfilerEvents", self._profiler, count, events)
        found: list[tuple[str, int | None, int]] = []
        for event in events[: count.value]:
            kind = (event.tag or b"").decode("utf-8", "replace")
            if event.kind == _NODE:
                found.append((kind, int(event.index), int(event.elapsed_us)))
            elif event.kind in _DELEGATE or (event.kind == _PLAIN and kind == "Invoke"):
                found.append((kind, None, int(event.elapsed_us)))
        return found

    def _run(self, sources: Any, results: Any) -> None:
        first, count = ctypes.c_size_t(0), ctypes.c_size_t
        self._call(
            "RunCompiledModel", self._compiled, first, count(len(sources)), sources, count(len(results)), results
        )

    def _buffers(self, kind: str) -> Any:
        """Memory for the model's inputs or outputs."""
        count = ctypes.c_size_t()
        self._call(f"GetNumSignature{kind}s", self._signature, ctypes.byref(count))
        buffers = (ctypes.c_void_p * count.value)()
        for place in range(count.value):
            tensor, needs, made = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
            index, shape = ctypes.c_size_t(place), ctypes.create_string_buffer(512)  # it is only handed on
            self._call(f"GetSignature{kind}TensorByIndex", self._signature, index, ctypes.byref(tensor))
            self._call("GetRankedTensorType", tensor, shape)
            wanted = (self._compiled, ctypes.c_size_t(0), index, ctypes.byref(needs))
            self._call(f"GetCompiledModel{kind}BufferRequirements", *wanted)
            self._call("CreateManagedTensorBufferFromRequirements", self._environment, shape, needs, ctypes.byref(made))
            buffers[place] = made
        return buffers

    def _fill(self, buffer: int, values: Array) -> None:
        size, address, own = ctypes.c_size_t(), ctypes.c_void_p(), ctypes.c_void_p(buffer)
        self._call("GetTensorBufferSize", own, ctypes.byref(size))
        if size.value < values.nbytes:
            raise RuntimeFailure(f"the profiler's input takes {size.value} bytes, not {values.nbytes}")
        self._call("LockTensorBuffer", own, ctypes.byref(address), ctypes.c_int(1))
        ctypes.memmove(address, values.tobytes(), values.nbytes)
        self._call("UnlockTensorBuffer", own)

    def _add(self, name: bytes, text: str) -> None:
        """An option in TOML; the runtime frees it."""
        c = ctypes.CDLL(None)
        c.strdup.restype = ctypes.c_void_p
        made = ctypes.c_void_p()
        payload, release = ctypes.c_void_p(c.strdup(text.encode())), ctypes.cast(c.free, ctypes.c_void_p)
        self._call("CreateOpaqueOptions", name, payload, release, ctypes.byref(made))
        self._call("AddOpaqueOptions", self._options, made)

    def _call(self, name: str, *arguments: Any) -> None:
        """Call `LiteRt<name>`. Raises RuntimeFailure for what is not there and for any status but success."""
        function = getattr(self._library, f"LiteRt{name}", None)
        if function is None:
            raise RuntimeFailure(f"this LiteRT has no profiler that is understood here (no LiteRt{name})")
        if (status := function(*arguments)) != 0:
            raise RuntimeFailure(f"LiteRT's profiler cannot be had for this model (LiteRt{name}: status {status})")


def _middle(values: Sequence[int]) -> float:
    """The mean of the middle half: what else a machine does now and then does not count, and whole numbers do."""
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    for path in (Path(folder) / f"libLiteRt{suffix}" for folder in folders for suffix in (".so", ".dylib", ".dll")):
        if path.exists():
            return ctypes.CDLL(str(path))
    raise RuntimeFailure("this LiteRT has no profiler: its library lacks the C interface")
