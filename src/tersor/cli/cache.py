"""`tersor cache`: what measurements are kept on disk."""

from __future__ import annotations

from typing import Annotated

import typer


def command(clear: Annotated[bool, typer.Option("--clear", help="Forget everything.")] = False) -> None:
    """Say where measurements are kept, so that nothing is measured twice, and how many there are."""
    from tersor.cache import LIMIT, user_cache
    from tersor.cli import console

    cache = user_cache()
    if cache is None:
        console.out.print("off (TERSOR_CACHE)")
        return
    if clear:
        cache.clear()
    held = cache.contents()
    console.out.print(f"{cache.path}: {held.entries} values, {held.size_bytes} of at most {LIMIT} bytes", markup=False)
    console.note("another place: TERSOR_CACHE=folder; none: TERSOR_CACHE=off")
