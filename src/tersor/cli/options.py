"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tersor.errors import RecipeError

if TYPE_CHECKING:
    from tersor.data.preprocess import Preprocess

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite, .keras or .h5 file.", show_default=False)]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]H,W,C",
        help="Sizes of an input that a Keras file leaves open, without the batch. May be repeated.",
        show_default=False,
    ),
]
Architecture = Annotated[
    str | None,
    typer.Option(
        metavar="CONFIG.JSON|NAME",
        help="For a Keras file with weights only: what model.to_json() wrote, or a network of keras.applications, "
        "e.g. MobileNetV2 or 'MobileNet(alpha=0.25)' (needs Keras).",
        show_default=False,
    ),
]
Rescale = Annotated[str | None, typer.Option(metavar="K", help="Multiply raw values, e.g. 1/255.", show_default=False)]
Mean = Annotated[
    str | None, typer.Option(metavar="M", help="Subtract: a number, or one per channel: 123.7,116.3,103.5.")
]
Std = Annotated[str | None, typer.Option(metavar="S", help="Then divide by: likewise.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Kernels = Annotated[str, typer.Option(metavar="xnnpack|builtin", help="Kernel set to run on.")]

DATA_HELP = "A folder of images (sub-folders are classes), a .csv of images, a .npy or .npz (x, y), or module:function."


def preprocess(rescale: str | None, mean: str | None, std: str | None) -> Preprocess:
    """The normalization that --rescale, --mean and --std ask for. Raises RecipeError for what is not a number."""
    from tersor.data.preprocess import Preprocess

    return Preprocess(
        rescale=None if rescale is None else _number("--rescale", rescale),
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
    )


def input_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """The shapes that --input-shape gives, by input name ("" for any). Raises RecipeError for what is not a shape."""
    shapes = {}
    for text in texts or ():
        name, _, sizes = text.rpartition("=")
        parts = sizes.split(",")
        if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            raise RecipeError(f"--input-shape {text!r} is not a shape: give positive integers, as 224,224,3")
        shapes[name] = tuple(int(part) for part in parts)
    return shapes


def listed(text: str | None) -> tuple[str, ...] | None:
    """Names between commas; "none" for no names, None if nothing is said."""
    if text is None:
        return None
    return () if text == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    return () if text is None else tuple(_number(option, part) for part in text.split(","))


def _number(option: str, text: str) -> float:
    numerator, slash, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        raise RecipeError(f"{option} {text!r} is not a number") from None
