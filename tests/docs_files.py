"""The files that pages speak of, made of the demo: a folder in which their commands run."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"

LABELS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

_FEW = 300
"""Samples of the test set where a page does not show what they give: enough for every command, and quick."""


def make_files(folder: Path, *, whole: bool) -> None:
    """Write them into an empty folder; the test images are all there if `whole`."""
    for name in ("fashion_mnist.keras", "fashion_mnist.tflite", "fashion_mnist_calibration.npz"):
        shutil.copy(DEMO / name, folder)
    with np.load(DEMO / "fashion_mnist.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    if not whole:
        x, y = x[:_FEW], y[:_FEW]
    np.savez(folder / "fashion_mnist.npz", x=x, y=y)
    (folder / "demo").symlink_to(DEMO)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", "utf-8")
    _stand_ins(folder, x, y)
    _photos(folder / "photos", x[:250], y[:250])
    _photos(folder / "test", x[-50:], y[-50:])
    _sources(folder)


def _stand_ins(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    """What a page calls its reader's own."""
    shutil.copy(DEMO / "fashion_mnist.keras", folder / "model.keras")
    shutil.copy(DEMO / "fashion_mnist.tflite", folder / "model.tflite")
    np.savez(folder / "test.npz", x=x[-100:], y=y[-100:])
    (folder / "notes.md").write_text("Notes.\n", "utf-8")
    Image.fromarray(x[np.argmax(y == LABELS.index("bag")), :, :, 0]).save(folder / "bag.png")
    (folder / "recordings").mkdir()
    for index, (image, label) in enumerate(zip(x[:120], y[:120], strict=True)):
        np.save(folder / "recordings" / f"{label}_{index}.npy", (image / 255).astype(np.float32))


def _photos(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    for name in LABELS:
        (folder / name).mkdir(parents=True)
    for index, (image, label) in enumerate(zip(x, y, strict=True)):
        Image.fromarray(image[:, :, 0]).save(folder / LABELS[label] / f"{index}.png")


def _sources(folder: Path) -> None:
    """Keras files of other kinds than the demo's."""
    with zipfile.ZipFile(ROOT / "tests" / "keras_layers" / "weights_only.zip") as files:
        (folder / "net.weights.h5").write_bytes(files.read("three.weights.h5"))
        (folder / "config.json").write_bytes(files.read("three.json"))
    _open_sizes(DEMO / "fashion_mnist.keras", folder / "open.keras")


def _open_sizes(source: Path, target: Path) -> None:
    """The demo with an input of any height and width."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w") as written:
        for name in read.namelist():
            content = read.read(name)
            if name == "config.json":
                config = json.loads(content)
                for layer in config["config"]["layers"]:
                    if layer["class_name"] == "InputLayer":
                        layer["config"]["batch_shape"] = [None, None, None, 1]
                content = json.dumps(config).encode()
            written.writestr(name, content)
