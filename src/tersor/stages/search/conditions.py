"""What figures rest on, in words: samples, machine, versions."""

from __future__ import annotations

import importlib.metadata
import platform
from contextlib import suppress
from pathlib import Path

from tersor.stages.search.evidence import Evidence
from tersor.stages.search.gauge import KERNELS
from tersor.stages.search.result import Conditions

_PACKAGES = ("tersor", "ai-edge-litert", "numpy")


def conditions_of(evidence: Evidence | None, calibration_samples: int, threads: int) -> Conditions:
    """Everything that the figures of one search rest on."""
    return Conditions(
        calibration_samples,
        0 if evidence is None else len(evidence.samples.tuning),
        0 if evidence is None else evidence.held.count,
        threads,
        KERNELS,
        processor(),
        versions(),
        None if evidence is None else evidence.what,
    )


def processor() -> str:
    """This machine's processor, as the system calls it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of the programs that made and measured."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
