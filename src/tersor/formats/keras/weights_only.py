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
from tersor.formats.keras.weights import ByName, ByPosition, Weights, member, snake_case

_BY_POSITION = ("layers", "_layer_checkpoint_dependencies")


def is_weights_only(file: Any) -> bool:
    """Whether an HDF5 file holds the weights of a Keras model and no configuration."""
    return "model_config" not in file.attrs and (
        "layer_names" in file.attrs or any(name in file for name in _BY_POSITION)
    )


def weights_for(file: Any, architecture: Mapping[str, Any]) -> Weights:
    """The weights, found by the architecture's layers. Raises FormatError if the file has layers that it lacks."""
    layers = [(layer.kind, layer.name) for layer in network_of(architecture).layers]
    if "layer_names" in file.attrs:
        held = [name for name in _texts(file.attrs["layer_names"]) if _has_arrays(member(file, name))]
        _refuse_unknown(held, [name for _, name in layers])
        return ByName([file], in_order=True)
    inner = next(found for name in _BY_POSITION if (found := member(file, name)) is not None)
    _refuse_unknown([name for name in inner if _has_arrays(member(inner, name))], _positions(layers))
    return ByPosition(file)


def _positions(layers: Sequence[tuple[str, str]]) -> list[str]:
    """The folders that Keras gives these layers."""
    seen: dict[str, int] = {}
    names = []
    for kind, _ in layers:
        name = snake_case(kind)
        number = seen.get(name, 0)
        seen[name] = number + 1
        names.append(f"{name}_{number}" if number else name)
    return names


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


def _texts(values: Any) -> list[str]:
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in values]
