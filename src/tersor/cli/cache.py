"""`tersor cache`: what measurements are kept on disk."""

from __future__ import annotations

from typing import Annotated

import typer

from tersor.cli import options


def command(
    clear: Annotated[bool, typer.Option("--clear", help="Forget everything.")] = False,
    as_json: options.Json = False,
) -> None:
    """Say where measurements are kept, so that nothing is measured twice, and how many there are."""
    from tersor.cache import LIMIT, user_cache
    from tersor.cli import console

    cache = user_cache()
    if cache is None and as_json:
        console.print_json({"folder": None, "entries": 0, "bytes": 0, "limit_bytes": LIMIT})
        return
    if cache is None:
        console.out.print("off (TERSOR_CACHE)")
        return
    if clear:
        cache.clear()
    held = cache.contents()
    if as_json:
        found = {"folder": str(cache.path), "entries": held.entries, "bytes": held.size_bytes, "limit_bytes": LIMIT}
        console.print_json(found)
        return
    console.out.print(f"{cache.path}: {held.entries} values, {held.size_bytes} of at most {LIMIT} bytes", markup=False)
    console.note("another place: TERSOR_CACHE=folder; none: TERSOR_CACHE=off")
