"""Which external delegate is asked for: a library that runs operators of a network on hardware of its own.

Nothing is loaded here: `runtimes.loaded_delegate` does that, in a process that it may crash.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import RecipeError


@dataclass(frozen=True)
class Known:
    """A delegate that has a name.

    Attributes:
        libraries: its file, by `platform.system()`.
        install: how it is had, by `platform.system()`.
        absent: what it means where it is not created and does not say why.
        crash: what it means where it crashes.
    """

    libraries: Mapping[str, str]
    install: Mapping[str, str]
    absent: str
    crash: str


_CORAL = "install Coral's edgetpu_runtime (https://coral.ai/software)"
KNOWN = {
    "edge_tpu": Known(
        # https://coral.ai/docs/edgetpu/inference
        {"Linux": "libedgetpu.so.1", "Darwin": "libedgetpu.1.dylib", "Windows": "edgetpu.dll"},
        {
            "Linux": "install Coral's package libedgetpu1-std (https://coral.ai/software)",
            "Darwin": _CORAL,
            "Windows": _CORAL,
        },
        "it finds no such Edge TPU: is it plugged in, may this user open it (group plugdev for USB, apex for PCIe), "
        "and does no other program hold it?",
        "a libedgetpu that was built for another version of TensorFlow Lite does this: install one for this runtime",
    )
}
"""By the name that `--delegate` takes."""

_LIBRARY = re.compile(r"\.(so|dylib|dll)(\.\d+)*$")
_DEVICE = re.compile(r"(usb|pci)?(:\d+)?")


@dataclass(frozen=True)
class Delegate:
    """A delegate that is asked for.

    Attributes:
        name: what the user calls it: one of `KNOWN`, or the library.
        library: a file's path, or a file name that the system's loader looks for.
        options: what it is given, as pairs of a key and a value.
    """

    name: str
    library: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def crash(self) -> str:
        """What it means where it crashes; "" where nothing is known."""
        return KNOWN[self.name].crash if self.name in KNOWN else ""


def find_delegate(asked: str, options: Mapping[str, str] | None = None) -> Delegate:
    """The delegate of a name, or of a library. Nothing is loaded.

    Args:
        asked: one of `KNOWN`, a path, or the file name of a library that the system's loader finds.
        options: what the delegate is given; the Edge TPU's `device` is usb, pci, :N, usb:N or pci:N.

    Raises RecipeError for a library that is not there, an unknown name, and a device that cannot be one.
    """
    device = (options or {}).get("device")
    if asked in KNOWN and device is not None and not (device and _DEVICE.fullmatch(device)):
        raise RecipeError(f"device {device!r} is not usb, pci, :N, usb:N or pci:N (N counts from 0)")
    given = tuple((options or {}).items())
    if asked in KNOWN:
        return Delegate(asked, library_of(asked), given)
    path = Path(asked)
    if path.is_file():
        return Delegate(path.name, str(path.resolve()), given)
    if len(path.parts) == 1 and _LIBRARY.search(asked):
        return Delegate(asked, asked, given)
    if len(path.parts) == 1:
        raise RecipeError(f"unknown delegate {asked!r}: give {' or '.join(KNOWN)}, or the path of a library")
    raise RecipeError(f"delegate {asked}: {'is a folder, not a library' if path.is_dir() else 'there is no such file'}")


def library_of(name: str) -> str:
    """The file of a known delegate on this system."""
    libraries = KNOWN[name].libraries
    return libraries.get(platform.system(), libraries["Linux"])


def how_to_install(name: str) -> str:
    """How to get a known delegate on this system."""
    ways = KNOWN[name].install
    return ways.get(platform.system(), ways["Linux"])
