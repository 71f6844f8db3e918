"""What Vela is asked for: which accelerator, in which system, with which memories."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import RecipeError

ACCELERATORS = (
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
)
"""Product and multiply-accumulates a cycle, as Vela's option `--accelerator-config` names them."""

DEFAULT = "ethos-u55-128"
_CONFIG = "Arm/vela.ini"
"""The systems and memory modes that come with Vela."""


@dataclass(frozen=True)
class Settings:
    """What is compiled for.

    Attributes:
        accelerator: one of `ACCELERATORS`.
        system_config: a section `System_Config.*` of the configuration: clock and bandwidths; None for Vela's default.
        memory_mode: a section `Memory_Mode.*`: what lies in which memory; None for Vela's default.
        config: a configuration of one's own; None for the one that comes with Vela.

    Raises RecipeError for an accelerator that there is not, a system of another one, and a file that is not there.
    """

    accelerator: str = DEFAULT
    system_config: str | None = None
    memory_mode: str | None = None
    config: Path | None = None

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise RecipeError(f"accelerator {self.accelerator!r}: there are {', '.join(ACCELERATORS)}")
        made_for = re.match(r"Ethos_(U\d+)_", self.system_config or "")
        if made_for and f"-{made_for[1].lower()}-" not in self.accelerator:
            raise RecipeError(
                f"system configuration {self.system_config} is of an Ethos-{made_for[1]}, and the accelerator is "
                f"{self.accelerator}: give those of one device"
            )
        if self.config is not None and (self.config.suffix != ".ini" or not self.config.is_file()):
            raise RecipeError(f"Vela configuration {self.config}: there is no such .ini file")
        if self.config is not None and None in (self.system_config, self.memory_mode):
            raise RecipeError(f"Vela configuration {self.config}: say which system and memory mode of it, too")

    @property
    def configuration(self) -> str:
        """The file, as Vela takes it: a relative path of two parts would be looked for in its own folder."""
        return _CONFIG if self.config is None else str(self.config.resolve())

    def arguments(self) -> list[str]:
        """The same as Vela's options."""
        given = {
            "--accelerator-config": self.accelerator,
            "--config": None if self.config is None else self.configuration,
            "--system-config": self.system_config,
            "--memory-mode": self.memory_mode,
        }
        return [text for option, value in given.items() if value is not None for text in (option, value)]


def device(accelerator: str) -> str:
    """An accelerator in a sentence: `Ethos-U55-128`."""
    return accelerator.replace("ethos-u", "Ethos-U")
