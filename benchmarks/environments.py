"""Virtual environments of the benchmarks, and what a result was made with. Runs on Python alone, without packages."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ("numpy==2.4.6", "ai-edge-litert==2.3.0")
REQUIREMENTS = {
    "tensorflow": ("tensorflow-cpu==2.21.0", "keras==3.15.1", "-e", str(ROOT), *SHARED),
    "keras_2": ("tensorflow-cpu==2.21.0", "keras==3.15.1", *SHARED),
    "litert_quantizer": ("litert-quantizer==0.11.0", *SHARED),
    "training": ("torch==2.13.0", "keras==3.15.1", "-e", str(ROOT), *SHARED),
    "tfmot": ("tensorflow-cpu==2.21.0", "dm-tree==0.1.10", "mock==5.2.0", "six==1.17.0", *SHARED),
    "tersor": ("-e", str(ROOT), *SHARED),
    "tersor_targets": ("-e", f"{ROOT}[micro,ethos_u]", *SHARED),
}
ALONE = {
    "keras_2": ("tf-keras==2.21.0",),
    "tfmot": ("tf-keras==2.21.0", "tensorflow-model-optimization==0.8.1"),
}
"""Installed without what they ask for: tf-keras wants the package `tensorflow`; `tensorflow-cpu` stands in for it."""

PACKAGES = (
    "tersor",
    "litert-quantizer",
    "tensorflow-cpu",
    "tensorflow-model-optimization",
    "keras",
    "tf-keras",
    "torch",
    "ai-edge-litert",
    "numpy",
)


def environment(work: Path, name: str) -> Path:
    """The Python of an environment, which is made if it is not there or has other requirements."""
    folder = work / "environments" / name
    python, marker = folder / "bin" / "python", folder / "requirements.txt"
    alone = ALONE.get(name, ())
    wanted = "\n".join((*REQUIREMENTS[name], *alone)) + "\n"
    if not (marker.exists() and marker.read_text() == wanted):
        print(f"making the environment of {name}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]], check=True)
        if alone:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *alone], check=True)
        marker.write_text(wanted)
    return python


def add_pythons(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Options that name the Python of an environment, for `pythons`."""
    for name in names:
        option = f"--{name.replace('_', '-')}-python"
        parser.add_argument(option, type=Path, help=f"use this Python instead of making an environment for {name}")


def pythons(arguments: argparse.Namespace, work: Path, names: Iterable[str]) -> dict[str, Path]:
    """The Python of each environment: the one that was given, or that of an environment made in the folder."""
    given: dict[str, Path | None] = {name: getattr(arguments, f"{name}_python") for name in names}
    return {name: path.absolute() if path else environment(work, name) for name, path in given.items()}


def versions(pythons: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Versions of the packages that matter, by environment."""
    code = (
        "import json, sys; from importlib import metadata as m; found = {'python': sys.version.split()[0]}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    return {
        name: json.loads(subprocess.run([python, "-c", code, *PACKAGES], check=True, capture_output=True).stdout)
        for name, python in pythons.items()
    }


def fingerprint(files: Iterable[Path]) -> str:
    """A hash over files: figures that were made by two states of them do not belong into one table."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def source() -> str:
    """The fingerprint of tersor's source."""
    return fingerprint((ROOT / "src").rglob("*.py"))


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
