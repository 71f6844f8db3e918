"""What this installation can do: versions, kernels that run, delegates that load, extras, and what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tersor import cache, tensorflow_python
from tersor.errors import RuntimeFailure, TersorError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.runtimes.delegate import find_delegate, how_to_install
from tersor.runtimes.engine import Engine, available_threads
from tersor.runtimes.isolation import Worker

KERNELS = ("xnnpack", "builtin")

_TIME_LIMIT = 60.0
"""Seconds for a delegate to load, or for another Python to say what it has."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LEAST = re.compile(r">=\s*([0-9.]+)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")

_FOR_AUTHORS = ("dev",)
"""Extras that are for work on tersor itself."""

_TELLS_TENSORFLOW = """
import importlib.metadata
for name in ("tensorflow", "tensorflow-cpu"):
    try:
        print(importlib.metadata.version(name))
        break
    except importlib.metadata.PackageNotFoundError:
        pass
"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        group: "system", "package", "extra", "kernels", "delegate".
        name: of the thing.
        found: what there is, in words; "" for nothing.
        works: whether it can be used.
        needed: whether tersor does nothing without it.
        remedy: what to do, a command where there is one; "" for nothing.
    """

    group: str
    name: str
    found: str
    works: bool = True
    needed: bool = False
    remedy: str = ""


def doctor() -> tuple[Check, ...]:
    """Look at everything; some seconds. Native code runs in processes of its own."""
    return (*_system(), *_packages(), *_kernels(), *_delegates())


def _system() -> Iterable[Check]:
    kept = cache.user_cache()
    version = importlib.import_module("tersor").__version__
    yield Check("system", "tersor", f"{version} in {Path(__file__).parents[1]}")
    yield Check("system", "Python", f"{platform.python_version()} ({sys.executable})")
    yield Check("system", "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Check("system", "threads", f"{available_threads()} of {os.cpu_count()}")
    yield Check("system", "cache", "off (TERSOR_CACHE)" if kept is None else str(kept.path))


def _packages() -> Iterable[Check]:
    """What tersor's own metadata say that it needs, and may use."""
    try:
        required = importlib.metadata.requires("tersor") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            "package", "tersor", "not installed, only found on the path", works=False, remedy="pip install tersor"
        )
        return
    by_extra: dict[str, list[str]] = {}
    for text in required:
        wanted, _, marker = text.partition(";")
        found = _EXTRA.search(marker)
        if found is None:
            yield _package(wanted)
        elif found[1] not in _FOR_AUTHORS:
            by_extra.setdefault(found[1], []).append(wanted)
    for extra, wanted_ones in sorted(by_extra.items()):
        yield _extra(extra, wanted_ones)


def _package(wanted: str) -> Check:
    name, version, is_enough = _installed(wanted)
    remedy = "" if is_enough else f"pip install '{wanted.strip()}'"
    return Check("package", name, _said(version, wanted, is_enough), is_enough, needed=True, remedy=remedy)


def _extra(extra: str, wanted_ones: Iterable[str]) -> Check:
    """All packages of an extra; TensorFlow may lie in another environment."""
    elsewhere = os.environ.get(tensorflow_python.PYTHON)
    if extra == "tensorflow" and elsewhere:
        version = _version_elsewhere(elsewhere)
        remedy = "" if version else f"{elsewhere} -m pip install tensorflow"
        return Check("extra", extra, f"{version or 'not'} in {elsewhere}", bool(version), remedy=remedy)
    seen = [(wanted, *_installed(wanted)) for wanted in wanted_ones]
    works = all(is_enough for *_, is_enough in seen)
    found = ", ".join(f"{name} {_said(version, wanted, is_enough)}" for wanted, name, version, is_enough in seen)
    return Check("extra", extra, found, works, remedy="" if works else f"pip install 'tersor[{extra}]'")


def _said(version: str | None, wanted: str, is_enough: bool) -> str:
    if version is None:
        return "missing"
    return version if is_enough else f"{version}, and {wanted.strip()} is needed"


def _installed(wanted: str) -> tuple[str, str | None, bool]:
    """A package's name, its version if it is there, and whether that is new enough."""
    match = _NAME.match(wanted.strip())
    name = match[0] if match else wanted.strip()
    version = None
    for distribution in (name, f"{name}-cpu"):  # TensorFlow has a package without GPU
        with suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(distribution)
            break
    least = _LEAST.search(wanted)
    return name, version, version is not None and (least is None or _numbers(version) >= _numbers(least[1]))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _version_elsewhere(python: str) -> str | None:
    code = (
        "import importlib.metadata as m\nfor n in ('tensorflow', 'tensorflow-cpu'):\n try: print(m.version(n)); break\n"
    )
    code += " except m.PackageNotFoundError: pass"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=_TIME_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _kernels() -> Iterable[Check]:
    """Each kernel set runs a small network."""
    builder = Builder("doctor")
    x = builder.input("x", [1, 4])
    weights = builder.constant("weights", np.eye(4, dtype=np.float32))
    bias = builder.constant("bias", np.ones(4, np.float32))
    model = builder.model([builder.op("FULLY_CONNECTED", [x, weights, bias], [1, 4], name="y")])
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        path = Path(folder) / "doctor.tflite"
        tflite.write(model, path)
        for kernels in KERNELS:
            yield _runs(path, kernels)


def _runs(path: Path, kernels: str) -> Check:
    try:
        with Engine(time_limit=_TIME_LIMIT) as engine:
            handle = engine.open(str(path), kernels)
            (answer,) = handle.run([np.zeros((1, 4), np.float32)])
            handle.close()
    except TersorError as error:
        told, works = str(error).partition("\n")[0], False
    else:
        works = bool((answer == 1).all())
        told = "runs" if works else f"answers {answer.ravel().tolist()} where it should answer ones"
    remedy = "" if works else "pip install --force-reinstall ai-edge-litert"
    return Check("kernels", kernels, told, works, needed=True, remedy=remedy)


def _delegates() -> Iterable[Check]:
    """The Edge TPU's library and device, tried in a process that may die."""
    name = "edge_tpu"
    asked = find_delegate(name)
    try:
        with Worker("tersor.runtimes.loaded_delegate:serve", _TIME_LIMIT) as worker:
            worker.doing = f"loading {asked.library}"
            worker.send(asked)
            worker.receive()
    except RuntimeFailure as error:
        told = str(error).removeprefix(f"delegate {name}: ").partition(f": {how_to_install(name)}")[0]
        remedy = f"{how_to_install(name)} and plug the device in: https://coral.ai/docs/accelerator/get-started"
        yield Check("delegate", name, told, False, remedy=remedy)
        return
    yield Check("delegate", name, f"{asked.library} loads")
