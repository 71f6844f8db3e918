"""Networks that tersor trains, in `.keras` files: beside Keras's weights lies the float model, as data."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tersor.errors import UnsupportedError
from tersor.formats import tflite
from tersor.formats.keras.archive import member_of, registered_name
from tersor.formats.keras.inputs import InputShapes
from tersor.ir.graph import Model

ASSET = "tersor.tflite"
"""The file among the assets."""

_PACKAGE = "tersor>"
"""Under which the classes of such networks are registered."""


def read_trained(path: Path, input_shapes: InputShapes, batch: int) -> Model | None:
    """The float model in a file that such a network was saved to; None for all other files.

    Raises FormatError for a damaged file, UnsupportedError for one without the model, or for what it leaves no choice.
    """
    if not zipfile.is_zipfile(path) or not registered_name(path).startswith(_PACKAGE):
        return None
    content = member_of(path, f"assets/{ASSET}")
    if content is None:
        raise UnsupportedError(
            f"{path}: a network of tersor.training without its float model ({ASSET}): pruning was not over, or an "
            "older tersor saved it; load it with Keras, train it to the end and save it anew"
        )
    if input_shapes or batch != 1:
        raise UnsupportedError(f"{path}: a network of tersor.training has fixed shapes, for one sample")
    return tflite.read_bytes(content, source=str(path))
