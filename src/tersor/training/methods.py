"""What a recipe asks to train for: its phases, one after the other, each on what the one before left."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.errors import RecipeError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.recipe import Recipe, load_recipe, parse_recipe
from tersor.training import prune, qat
from tersor.training.network import Network

_ROUNDING, _WEIGHTS = 1e-4, 1e-3
"""Adam's first step size: where rounding is all that is new to a network, and where its weights change a lot."""


@dataclass(frozen=True)
class Start:
    """What a phase begins with.

    Attributes:
        model: a float model.
        samples: some of those that are trained on, for ranges.
        freeze_after: the step from which on batch normalization uses its moving statistics.
        learned: whether ranges are learned by their gradients.
    """

    model: Model
    samples: Sequence[object]
    freeze_after: int
    learned: bool = False


@dataclass(frozen=True)
class Phase:
    """One training.

    Attributes:
        name: in tables.
        prepare: makes the network.
        wish: what it follows from.
        recipe: what the file of the network is; None for a float file.
        rate: the learning rate that suits it.
        counts_from: the step behind which the network is worth keeping.
        remark: what to say of the network in the end; "" for nothing.
    """

    name: str
    prepare: Callable[[Start], Network]
    wish: object
    recipe: Recipe | None = None
    rate: float = _ROUNDING
    counts_from: int = 0
    remark: Callable[[Any], str] = lambda _network: ""


def phases_of(name: str) -> tuple[Phase, ...]:
    """The phases of a recipe: a preset's name, or the path of a TOML file. Raises RecipeError."""
    text = _text(Path(name)) if name.endswith(".toml") else None
    tables = {} if text is None else {key: own for key, own in _tables(text).items() if key in TABLES}
    if text is None or not tables:
        return (_qat(load_recipe(name), name),)
    first = tuple(TABLES[key](own, name) for key, own in tables.items())
    if set(_tables(text)) <= set(tables):
        return first
    recipe = parse_recipe(text, Path(name).stem, name, beside=tuple(TABLES))
    return (*first, _qat(recipe, name, keep_zeros=True))


def _qat(recipe: Recipe, name: str, *, keep_zeros: bool = False) -> Phase:
    """The phase in which values are rounded, and what pruning left as zeros stays so."""
    if not recipe.needs_calibration:
        raise RecipeError(
            f"{recipe.name} rounds no activations, so there is nothing to train for: tersor quantize --as {name}"
        )

    def start(given: Start) -> Network:
        return qat.prepare(
            given.model,
            recipe,
            data=given.samples,
            freeze_after=given.freeze_after,
            learned=given.learned,
            keep_zeros=keep_zeros,
        )

    def remark(network: qat.QuantizationAware) -> str:
        return f"zeros: {prune.sparsity_of(network.trained()).reached:.1%} of all weights"

    rate = _WEIGHTS if recipe.scheme.weights is DType.INT4 else _ROUNDING
    return Phase(recipe.name, start, recipe, recipe, rate, remark=remark if keep_zeros else lambda _network: "")


def _pruning(table: Mapping[str, Any], source: str) -> Phase:
    wish = prune.Pruning.parse(table, f"{source}: [pruning]")

    def start(given: Start) -> Network:
        network = prune.prepare(given.model, wish, freeze_after=given.freeze_after)
        network.more_to_come = True  # an epoch at a time
        return network

    def remark(network: prune.Pruned) -> str:
        found = network.sparsity()
        return (
            f"zeros: {found.reached_where_pruned:.1%} of the weights of {len(found.pruned)} pruned layers, "
            f"{found.reached:.1%} of all"
        )

    return Phase("pruned", start, wish, None, _WEIGHTS, wish.schedule.last, remark)


TABLES: dict[str, Callable[[Mapping[str, Any], str], Phase]] = {"pruning": _pruning}
"""Tables of a TOML file that are phases before the one of its recipe."""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error


def _tables(text: str) -> dict[str, Any]:
    """What the TOML holds; nothing if it is none, which reading the recipe says better."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
