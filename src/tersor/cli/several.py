"""`tersor place` for several models on one device, and for one model on several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tersor.errors import RecipeError

if TYPE_CHECKING:
    from tersor.ir.graph import Model


def command(
    models: Sequence[Model],
    target: str,
    segments: int | None,
    asked: Mapping[str, object],
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Print how they share. Raises what the stages do, and RecipeError for what does not go together."""
    from tersor.cli import console
    from tersor.report import sharing
    from tersor.stages.place_several import place_segments, place_together

    if everything:
        raise RecipeError("--all is for one model on one device")
    if segments is None:
        together = place_together(models, target, **asked)
        if as_json:
            console.print_json(sharing.together_to_dict(together))
            return
        console.out.print(sharing.together_headline(together), markup=False)
        console.out.print(sharing.together_table(together))
        console.say(sharing.together_notes(together))
        return
    if len(models) > 1:
        raise RecipeError(f"--segments is for one model, and there are {len(models)}")
    if asked:
        raise RecipeError(f"--segments does not go together with --{next(iter(asked)).replace('_', '-')}")
    pipeline = place_segments(models[0], segments, target)
    if as_json:
        console.print_json(sharing.pipeline_to_dict(pipeline))
        return
    console.out.print(sharing.pipeline_headline(pipeline), markup=False)
    console.out.print(sharing.pipeline_table(pipeline))
    console.say(sharing.pipeline_notes(pipeline))
