"""Options of target `ethos_u`: what Vela compiles for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Ethos-U (compiled by Vela, the extra 'ethos_u')"


@dataclass(frozen=True)
class EthosU:
    """Ethos-U: what Vela compiles for; None where nothing is said."""

    accelerator: Annotated[
        str | None,
        typer.Option(metavar="ethos-u55-128|...", help="Default: ethos-u55-128.", rich_help_panel=_PANEL),
    ] = None
    system_config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Clock and bandwidths: the configuration's System_Config.NAME.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    memory_mode: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What lies where: the configuration's Memory_Mode.NAME.", rich_help_panel=_PANEL
        ),
    ] = None
    vela_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.ini", help="A configuration of your own.", rich_help_panel=_PANEL),
    ] = None

    @property
    def asked(self) -> dict[str, object]:
        """What is said, as options of the target."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in given.items() if value is not None}
