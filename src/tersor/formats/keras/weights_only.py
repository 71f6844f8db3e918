"""Files with nothing but weights, which take their architecture from elsewhere.

Keras 3 (`model.save_weights("net.weights.h5")`) writes the layout of `.keras` files; Keras 1 and 2, and the files of
`keras.applications`, that of `.h5` files with the layers at the root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py

from tersor.errors import FormatError
from tersor.formats.keras.config import network_of
from tersor.formats.keras.weights import ByName, ByPosition, Weights, member, positions, variable_paths

_BY_POSITION = ("layers", "_layer_checkpoint_dependencies")


def is_weights_only(file: Any) -> bool:
    """Whether an HDF5 file holds the weights of a Keras model and no configuration."""
    return "model_config" not in file.attrs and (
        "layer_names" in file.attrs or any(name in file for name in _BY_POSITION)
    )


def weights_for(file: Any, architecture: Mapping[str, Any], *, outlines: bool) -> Weights:
    """The weights, found by the architecture's layers. Raises FormatError if the file has layers that it lacks."""
    layers = [(layer.kind, layer.name) for layer in network_of(architecture).layers]
    if "layer_names" in file.attrs:
        held = _layers_with_arrays(file)
        _refuse_unknown(held, [_places([name for _, name in layers], held).get(name, name) for _, name in layers])
        return _ByNumber([file], in_order=True, outlines=outlines)
    inner = next(found for name in _BY_POSITION if (found := member(file, name)) is not None)
    _refuse_unknown([name for name in inner if _has_arrays(member(inner, name))], positions(layers))
    return ByPosition(file, outlines=outlines)


class _ByNumber(ByName):
    """The layout of `.h5` files, where layers without a name may have got other numbers than in the architecture."""

    def layers(self, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """See `Weights`."""
        held: dict[str, None] = {}
        for group in self._groups:
            held |= dict.fromkeys(_layers_with_arrays(group))
            held |= dict.fromkeys(path.split("/")[-2] for path in variable_paths(group) if "/" in path)
        places = _places([name for _, name in layers], list(held))
        return super().layers([(kind, places.get(name, name)) for kind, name in layers])


def _places(known: Sequence[str], held: Sequence[str]) -> dict[str, str]:
    """What the architecture's layers are called in the file.

    Keras numbers layers that were given no name through all models of a session (`conv2d_95`), so where names differ
    the layers of one stem are taken in the order of their numbers.
    """
    mine, theirs = _by_stem(known), _by_stem(held)
    return {
        name: place
        for stem, names in theirs.items()
        if not set(names) <= set(known) and len(mine.get(stem, ())) == len(names)
        for name, place in zip(mine[stem], names, strict=True)
    }


def _by_stem(names: Sequence[str]) -> dict[str, list[str]]:
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        stem, _, number = name.rpartition("_")
        is_numbered = bool(stem) and number.isascii() and number.isdigit()
        numbered.setdefault(stem if is_numbered else name, []).append((int(number) if is_numbered else 0, name))
    return {stem: [name for _, name in sorted(found)] for stem, found in numbered.items()}


def _refuse_unknown(held: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in held if name not in set(known)]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise FormatError(
            f"the file holds weights of a layer {unknown[0]!r}{more} that the architecture does not have: "
            "they belong to another model"
        )


def _has_arrays(group: Any) -> bool:
    """Whether arrays of a layer lie below a group; the state of random generators is none."""
    found: list[str] = []
    if isinstance(group, h5py.Group):
        group.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return any("seed_generator" not in name for name in found)


def _layers_with_arrays(group: Any) -> list[str]:
    """The layers that the root of an `.h5` file lists, without those that have no weights."""
    listed = group.attrs.get("layer_names", ())
    names = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in listed]
    return [name for name in names if _has_arrays(member(group, name))]
