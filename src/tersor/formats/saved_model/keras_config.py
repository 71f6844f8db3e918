"""Refuses Keras files that Keras would run code of, whatever its version: the configuration is read here, without it.

Keras rebuilds what a configuration names. Its safe mode has grown over the years, and early versions leave it out for
`.h5` files; so only names of Keras's own modules for layers and their parts are let through, and none of the layers
that hold Python code, pickled objects, or paths of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tersor.errors import UnsupportedError
from tersor.formats.keras.archive import open_archive

_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__", "TFOpLambda")
_VOCABULARIES = ("StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup", "HashedCrossing")
_OWN = re.compile(
    r"^(builtins|keras|(keras|keras_core|tensorflow\.keras|tf_keras)\.(src\.)?"
    r"(layers|models|engine|initializers|regularizers|constraints|activations|dtype_policies|mixed_precision|ops|random"
    r"|backend|quantizers|legacy)(\.\w+)*)$"
)
_DEPTH_LIMIT = 200


def refuse_code(path: Path) -> None:
    """Raise UnsupportedError if a file names what is not Keras's own or holds code; FormatError if it is no model."""
    with open_archive(path) as archive:
        kept = {"class_name": archive.config.get("class_name"), "config": archive.config.get("config")}
        kept |= {key: archive.config.get(key) for key in ("module", "registered_name")}
    for entry in _entries(kept, 0):
        _refuse(entry)


def _refuse(entry: dict[str, Any]) -> None:
    kind, module, config = str(entry.get("class_name")), entry.get("module"), entry.get("config")
    name = f" {config['name']!r}" if isinstance(config, dict) and "name" in config else ""
    if kind in _CODE:
        raise UnsupportedError(
            f"layer{name} ({kind}) holds code, which is not executed: express it with Keras layers or keras.ops, or, "
            "if you trust its author, give --trust-code"
        )
    registered = entry.get("registered_name") or (kind if ">" in kind else None)
    if not _OWN.match(str(module)) if module is not None else registered is not None:
        raise UnsupportedError(
            f"layer{name} ({module or registered}) is custom, and Keras cannot rebuild it without its Python class: "
            "export the model with model.export('folder') where the class is at hand, and convert that"
        )
    if kind in _VOCABULARIES and isinstance(config, dict) and isinstance(config.get("vocabulary"), str):
        raise UnsupportedError(
            f"layer{name} ({kind}) names a file, which is not opened; --trust-code lets Keras open it"
        )


def _entries(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """All objects of a configuration that name a class."""
    if depth > _DEPTH_LIMIT:
        raise UnsupportedError(f"the configuration is nested more than {_DEPTH_LIMIT} deep")
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _entries(item, depth + 1)
