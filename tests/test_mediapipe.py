"""MediaPipe Tasks runs our files as image classifiers, with nothing but the file.

It needs an environment of its own, and `TERSOR_MEDIAPIPE_PYTHON` set to its Python; `make test-readers` does both.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from conftest import Cli
from small_nets import shared_file

PYTHON = os.environ.get("TERSOR_MEDIAPIPE_PYTHON")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="TERSOR_MEDIAPIPE_PYTHON names no Python"),
]

CLASSIFY = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision

model, images = sys.argv[1], sys.argv[2:]
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=3)
with vision.ImageClassifier.create_from_options(options) as classifier:
    found = [classifier.classify(mediapipe.Image.create_from_file(image)) for image in images]
answers = [[(item.category_name, item.score) for item in each.classifications[0].categories] for each in found]
print("answer " + json.dumps(answers))
"""

LABELS = ("apple", "boot", "crane", "crane", "Größe")


def classify(model: Path, images: list[Path]) -> list[list[tuple[str, float]]]:
    """For each image names and scores of the best classes."""
    command = [str(PYTHON), "-c", CLASSIFY, str(model), *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("answer "))
    found: list[list[tuple[str, float]]] = json.loads(line.removeprefix("answer "))
    return found


def pictures(folder: Path, count: int) -> list[Path]:
    """Pictures of a few large blots, 6x6, so that nobody has to resize them."""
    random = np.random.default_rng(3)
    paths = []
    for number in range(count):
        blots = random.integers(0, 256, (3, 3, 3)).astype(np.uint8).repeat(2, 0).repeat(2, 1)
        paths.append(folder / f"picture_{number}.png")
        Image.fromarray(blots).save(paths[-1])
    return paths


@pytest.mark.parametrize("way", [("--mean", "128", "--std", "128"), ("--rescale", "1/255")], ids=["mean", "rescale"])
@pytest.mark.parametrize("flavour", ["uint8", "int8_float_io", "float16"])
def test_scores_and_names_are_ours(cli: Cli, place: Path, flavour: str, way: tuple[str, ...]) -> None:
    (place / "labels.txt").write_text("\n".join(LABELS), "utf-8")
    (place / "pictures").mkdir()
    images = pictures(place / "pictures", 24)
    made = cli("quantize", "net.tflite", "--data", "pictures", *way, "--labels", "labels.txt", "--as", flavour)
    assert made.code == 0, made.err
    found = classify(place / f"net.{flavour}.tflite", images)
    own = json.loads(cli("run", f"net.{flavour}.tflite", *images, "--json").out)
    for theirs, ours in zip(found, own, strict=True):
        scores = np.array(ours["scores"][0])
        names, values = zip(*theirs, strict=True)
        np.testing.assert_allclose(values, np.sort(scores)[::-1][:3], atol=2.01 / 256 if flavour != "float16" else 2e-3)
        close = {LABELS[place] for place in np.flatnonzero(scores >= scores.max() - 3 / 256)}
        assert names[0] in close
    assert len({each[0][1] for each in found}) > 5


def test_an_int8_door_is_not_mediapipes(cli: Cli, place: Path) -> None:
    """It takes uint8 and float32 only; if that changes, the how-to has a sentence less."""
    (place / "pictures").mkdir()
    images = pictures(place / "pictures", 24)
    assert cli("quantize", "net.tflite", "--data", "pictures", "--rescale", "1/255").code == 0
    with pytest.raises(RuntimeError, match="Type mismatch for input tensor"):
        classify(place / "net.int8.tflite", images[:1])


def test_mobilenet_on_photos(cli: Cli, place: Path) -> None:
    """A trained network, integers throughout: MediaPipe names the classes that `tersor run` names."""
    model = shared_file("imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5")
    with ZipFile(shared_file("photos_500/photos.zip")) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[:120]
        archive.extractall(place / "photos", names)
    photos = sorted((place / "photos").rglob("*.jpg"))
    labels = [f"class {number}" for number in range(1000)]
    (place / "labels.txt").write_text("\n".join(labels))
    made = cli(
        "quantize", model, "--data", "photos", "--mean", "127.5", "--std", "127.5", "--labels", "labels.txt",
        "--as", "uint8", "-o", "m.tflite",
    )  # fmt: skip
    assert made.code == 0, made.err
    few = photos[-20:]
    found = classify(place / "m.tflite", few)
    own = json.loads(cli("run", "m.tflite", *few, "--json").out)
    pairs = zip(found, own, strict=True)
    agreeing = sum(theirs[0][0] == labels[int(np.argmax(next(iter(ours.values()))))] for theirs, ours in pairs)
    assert agreeing >= 17
