"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tersor.errors import RecipeError

if TYPE_CHECKING:
    from tersor.data.preprocess import Preprocess
    from tersor.formats.saved_model.conversion import Conversion

ModelPath = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A .tflite, .keras or .h5 file, a SavedModel folder, or a frozen .pb.", show_default=False
    ),
]
ModelPaths = Annotated[
    list[Path],
    typer.Argument(
        metavar="MODEL...",
        help="A .tflite, .keras or .h5 file, a SavedModel folder, or a frozen .pb; several: how they share a device.",
        show_default=False,
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]H,W,C",
        help="Sizes of an input that the model leaves open, without the batch. May be repeated.",
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
Samplewise = Annotated[
    bool, typer.Option("--samplewise", help="Then subtract each sample's own mean, and divide by its own std.")
]
AsIs = Annotated[
    bool, typer.Option("--as-is", help="Samples are normalized already: not as the model's metadata state.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Name images and sounds that cannot be read, and leave them out.")
]
Features = Annotated[
    str | None,
    typer.Option(
        metavar="log_mel|mfcc[:...]",
        help="What sound becomes, e.g. mfcc:bins=40,coefficients=10,window=40,step=20 (needs the extra 'audio').",
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write these labels into the result, one per line.", show_default=False),
]
Split = Annotated[
    bool,
    typer.Option(
        "--split",
        help="For --target edge_tpu: cut what the device does not run off, into files that the CPU runs in float.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_TENSORFLOW = "What TensorFlow reads (the extra 'tensorflow')"
Via = Annotated[
    str | None,
    typer.Option(
        "--via",
        metavar="tensorflow",
        help="Have TensorFlow convert a Keras file that is not read otherwise.",
        rich_help_panel=_TENSORFLOW,
        show_default=False,
    ),
]
SignatureName = Annotated[
    str | None,
    typer.Option("--signature", metavar="NAME", help="Of a SavedModel that has several.", rich_help_panel=_TENSORFLOW),
]
Tags = Annotated[
    str | None,
    typer.Option("--tags", metavar="TAG,...", help="Of the graph in a SavedModel.", rich_help_panel=_TENSORFLOW),
]
GraphInputs = Annotated[
    str | None,
    typer.Option(
        "--graph-inputs",
        metavar="NAME,...",
        help="Of a frozen graph; by default, its placeholders.",
        rich_help_panel=_TENSORFLOW,
        show_default=False,
    ),
]
GraphOutputs = Annotated[
    str | None,
    typer.Option(
        "--graph-outputs",
        metavar="NAME,...",
        help="Of a frozen graph; by default, what nothing reads.",
        rich_help_panel=_TENSORFLOW,
        show_default=False,
    ),
]
SelectTfOps = Annotated[
    bool,
    typer.Option(
        "--select-tf-ops", help="Leave operators that LiteRT lacks to TensorFlow (Flex).", rich_help_panel=_TENSORFLOW
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Run Python code and file operators that the model holds.", rich_help_panel=_TENSORFLOW
    ),
]

_REPAIR = "Repair"
MaxDrop = Annotated[
    str | None,
    typer.Option(
        metavar="0.5%",
        help="Lose no more than this against float, by the cheapest means that do it; exit code 9 if that is missed. "
        "The recipe that was found is written beside the file.",
        rich_help_panel=_REPAIR,
        show_default=False,
    ),
]
Islands = Annotated[
    str | None,
    typer.Option(
        metavar="int16|float|none",
        help="What the fewest operators may be widened to. Default: float where the flavour allows it, else int16.",
        rich_help_panel=_REPAIR,
        show_default=False,
    ),
]
FineTune = Annotated[
    bool,
    typer.Option(
        "--finetune",
        help="Train the result on the samples it was calibrated on, against the float model, without labels; kept if it "
        "is better on some of them that are held back. With --max-drop as the last thing tried. Needs tersor[train].",
        rich_help_panel=_REPAIR,
    ),
]
FineTuneMinutes = Annotated[
    float, typer.Option("--finetune-minutes", min=0, help="Train no longer than this.", rich_help_panel=_REPAIR)
]
MaxMinutes = Annotated[float, typer.Option(min=0, help="Try nothing further after this.", rich_help_panel=_REPAIR)]
Kernels = Annotated[str, typer.Option(metavar="xnnpack|builtin", help="Kernel set to run on.")]
AnyKernels = Annotated[
    str,
    typer.Option(
        metavar="xnnpack|builtin|micro", help="Kernel set to run on; micro: a microcontroller's (tersor[micro])."
    ),
]

_DELEGATE = "Delegate"
DelegateName = Annotated[
    str | None,
    typer.Option(
        "--delegate",
        metavar="edge_tpu|LIBRARY",
        help="Let an accelerator's library run what it can of the model, before the kernels do.",
        rich_help_panel=_DELEGATE,
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="usb|pci|:N|usb:N|pci:N",
        help="Which device it is to use, if there are several: the delegate's option 'device'.",
        rich_help_panel=_DELEGATE,
        show_default=False,
    ),
]
DelegateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--delegate-option",
        metavar="KEY=VALUE",
        help="What else the delegate is told. May be repeated.",
        rich_help_panel=_DELEGATE,
        show_default=False,
    ),
]

MultipleSubgraphs = Annotated[
    bool, typer.Option("--multiple-subgraphs", help="Map every piece that maps: the Edge TPU compiler's option -a.")
]

METRICS = "top1|top5|mse|auc|module:function"
METRIC_HELP = (
    "What outputs are judged by: the share of right answers (top1, top5), mean squared error, area under the ROC "
    "curve, or a Python function of output and label that gives a number."
)
Metric = Annotated[
    str | None,
    typer.Option(metavar=METRICS, help=f"{METRIC_HELP} Default: top1 where there are labels.", show_default=False),
]

DATA_HELP = (
    "A folder of images or .wav files (sub-folders are classes), a .csv of images, a .npy or .npz (x, y), or "
    "module:function."
)


def preprocess(rescale: str | None, mean: str | None, std: str | None, *, samplewise: bool = False) -> Preprocess:
    """The normalization that options ask for. Raises RecipeError for what is not a number."""
    from tersor.data.preprocess import Preprocess

    return Preprocess(
        rescale=None if rescale is None else _number("--rescale", rescale),
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        samplewise=samplewise,
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


def stored_bytes(model: Path) -> int:
    """The size of a file, or of all files in a folder."""
    files = [path for path in model.rglob("*") if path.is_file()] if model.is_dir() else [model]
    return sum(path.stat().st_size for path in files)


def conversion(
    via: str | None,
    signature: str | None,
    tags: str | None,
    graph_inputs: str | None,
    graph_outputs: str | None,
    *,
    select_tf_ops: bool,
    trust_code: bool,
) -> Conversion | None:
    """What TensorFlow is asked for; None for nothing. Raises RecipeError for another way than TensorFlow."""
    if via not in (None, "tensorflow"):
        raise RecipeError(f"--via {via!r}: there is only tensorflow")
    from tersor.formats.saved_model.conversion import Conversion

    asked = Conversion(
        via_tensorflow=via is not None,
        signature=signature,
        tags=listed(tags) or (),
        graph_inputs=listed(graph_inputs) or (),
        graph_outputs=listed(graph_outputs) or (),
        select_tf_ops=select_tf_ops,
        trust_code=trust_code,
    )
    return asked if asked.options else None


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
