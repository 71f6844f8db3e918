"""Finds the arrays of a layer in the two layouts of weights.

Positions (`.keras`): ``layers/conv2d_1/vars/0``: the class in snake case, numbered among the model's layers of that
class, then the variables in the order in which the layer made them. Names (`.h5`): ``conv1/conv1/kernel:0``: under the
layer's name a list of variable paths; those of a nested model lie flat under the model's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np

from tersor.errors import FormatError
from tersor.formats.keras.plain_hdf5 import Group, Stored
from tersor.ir.graph import Array
from tersor.ir.outline import SMALLEST, outline

Shapes = Mapping[str, tuple[int, ...]]

_CLASSES = {"GroupQueryAttention": "GroupedQueryAttention"}
"""Layers whose name in a configuration is not that of their class."""

_UNREAD = ("kernel", "embeddings")
"""How arrays are called that can be outlines. Others decide which operators there are: an offset of 0 is none."""


class Weights(Protocol):
    """The arrays of a layer, or of a model and what is in it."""

    def layers(self, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """For each layer of a model, given as (class, name), its own weights."""

    def inside(self, part: str, *steps: str) -> Weights:
        """The weights of a layer inside a layer.

        Args:
            part: the path of attributes to it in a `.keras` file (`cell`, `forward_layer`).
            steps: its name in the variable paths of an `.h5` file, or its beginning (`forward_`), or several of which
                one is right; none if it need not be told from others.
        """

    def take(self, where: str, shapes: Shapes, part: str = "") -> dict[str, Array]:
        """The arrays by variable name, as float32.

        Args:
            where: names the layer in messages.
            shapes: names and shapes of all variables, in the order in which the layer makes them.
            part: the attribute of the sub-layer that owns them (`cell`).

        Raises:
            FormatError: one is missing, too many are there, or a shape does not fit the configuration.
        """


class ByPosition:
    """The layout of `.keras` files.

    Args:
        group: that of the layer or model, of `plain_hdf5` or of h5py.
        outlines: whether large kernels and embeddings are outlines, and not read.
    """

    def __init__(self, group: Any, *, outlines: bool = False) -> None:
        self._group = group
        self._outlines = outlines

    def layers(self, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """See `Weights`."""
        inner = member(self._group, "layers") or member(self._group, "_layer_checkpoint_dependencies")
        return [ByPosition(member(inner, place), outlines=self._outlines) for place in positions(layers)]

    def inside(self, part: str, *_: str) -> Weights:
        """See `Weights`."""
        group = self._group
        for name in filter(None, part.split("/")):
            found = member(group, name)
            group = member(group, f"_{name}") if found is None else found  # some attributes are private
        return ByPosition(group, outlines=self._outlines)

    def take(self, where: str, shapes: Shapes, part: str = "") -> dict[str, Array]:
        """See `Weights`."""
        group = member(self._group, part) if part else self._group
        variables = member(group, "vars")
        count = 0 if variables is None else len(variables)
        if count != len(shapes):
            raise FormatError(f"{where}: the file has {count} arrays where {_listed(shapes)} are expected")
        return {
            name: _read(where, name, shape, member(variables, str(number)), outlines=self._outlines)
            for number, (name, shape) in enumerate(shapes.items())
        }


class ByName:
    """The layout of `.h5` files.

    Args:
        groups: those of the layers, or the one that holds them.
        within: steps of the variables' paths that must be there, each in one of its spellings.
        in_order: whether variables with other names (Keras 1 wrote `conv1_W`) are taken in the order of the layer's.
        outlines: whether large kernels and embeddings are outlines, and not read.
    """

    def __init__(
        self,
        groups: Sequence[Any],
        within: tuple[tuple[str, ...], ...] = (),
        *,
        in_order: bool = False,
        outlines: bool = False,
    ) -> None:
        self._groups = groups
        self._within = within
        self._in_order = in_order
        self._outlines = outlines

    def layers(self, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """See `Weights`."""
        found: list[Weights] = []
        for _, name in layers:
            own = member(self._groups[0], name) if len(self._groups) == 1 and not self._within else None
            groups, within = ([own], ()) if _has_names(own) else (self._groups, ((name,),))
            found.append(self._of(groups, within))
        return found

    def take(self, where: str, shapes: Shapes, part: str = "") -> dict[str, Array]:  # noqa: ARG002
        """See `Weights`; the names tell the arrays of parts apart."""
        found: dict[str, Any] = {}
        count = 0
        for group in self._groups:
            for path in variable_paths(group):
                *steps, name = path.split("/")
                if all(any(_is_step(step, wanted) for step in steps) for wanted in self._within):
                    found[name.partition(":")[0]] = member(group, path)
                    count += 1
        if self._in_order and set(found) != set(shapes) and count == len(found) == len(shapes):
            found = dict(zip(shapes, found.values(), strict=True))
        if count != len(shapes) or set(found) != set(shapes):
            raise FormatError(f"{where}: the file has {_listed(found)} where {_listed(shapes)} are expected")
        return {name: _read(where, name, shape, found[name], outlines=self._outlines) for name, shape in shapes.items()}

    def inside(self, _: str, *steps: str) -> Weights:
        """See `Weights`."""
        within = (*self._within, steps) if steps else self._within
        return self._of(self._groups, within)

    def _of(self, groups: Sequence[Any], within: tuple[tuple[str, ...], ...]) -> ByName:
        return type(self)(groups, within, in_order=self._in_order, outlines=self._outlines)


def _is_step(step: str, wanted: tuple[str, ...]) -> bool:
    return any(step.startswith(name) if name.endswith("_") else step == name for name in wanted)


def positions(layers: Sequence[tuple[str, str]]) -> list[str]:
    """The folders of a model's layers, given as (class, name), in `.keras` files."""
    seen: dict[str, int] = {}
    places = []
    for kind, _ in layers:
        name = snake_case(_CLASSES.get(kind, kind))
        number = seen.get(name, 0)
        seen[name] = number + 1
        places.append(f"{name}_{number}" if number else name)
    return places


@cache
def snake_case(name: str) -> str:
    """The way Keras names a class's folder: `Conv2D` is `conv2d`, `BatchNormalization` `batch_normalization`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _has_names(group: Any) -> bool:
    """Whether a group is a layer's own, and not a step of a variable's path."""
    return group is not None and ("weight_names" in group.attrs or "weight_names0" in group.attrs)


def variable_paths(group: Any) -> list[str]:
    """The variable paths of a layer's group; long lists are split over numbered attributes."""
    if group is None:
        return []
    attributes = group.attrs
    keys = ["weight_names"] if "weight_names" in attributes else []
    if not keys:
        keys = [f"weight_names{n}" for n in range(len(attributes)) if f"weight_names{n}" in attributes]
    return [item.decode() if isinstance(item, bytes) else str(item) for key in keys for item in attributes[key]]


def member(group: Any, path: str) -> Any:
    """A member of a group, or None. Raises FormatError for a link."""
    if group is not None and not isinstance(group, Group | Stored):
        from tersor.formats.keras.hdf5_library import member_of

        return member_of(group, path)
    for step in path.split("/"):
        group = group.get(step) if isinstance(group, Group) else None
    return group


def _read(where: str, name: str, shape: tuple[int, ...], dataset: Any, *, outlines: bool) -> Array:
    if not isinstance(dataset, Stored):
        from tersor.formats.keras.hdf5_library import open_array

        dataset = open_array(where, name, dataset)
    if dataset.shape != shape:
        raise FormatError(
            f"{where}: {name} has shape {list(dataset.shape)} in the file, but the configuration needs {list(shape)}"
        )
    if dataset.dtype.kind not in "fiub":
        raise FormatError(f"{where}: {name} has the type {dataset.dtype}, not numbers")
    if outlines and name.endswith(_UNREAD) and math.prod(shape) >= SMALLEST:
        return outline(shape, np.float32)
    values: Array = dataset.read()
    return values.astype(np.float32, copy=False)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"
