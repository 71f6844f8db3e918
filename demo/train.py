"""Train the demo network on Fashion-MNIST and write the files of this folder.

The network is a small MobileNet-style classifier: depthwise-separable convolutions with batch
normalization and hard-swish, residual additions, global average pooling and a softmax.  Its input is
one 28x28 grey image as float32 scaled to [0, 1]; its output is ten class probabilities.

Run it as ``python demo/train.py``.  Training works with any Keras backend (``KERAS_BACKEND``); the
conversion to TFLite needs the TensorFlow backend and can be repeated alone with ``--convert-only``.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

DATA = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts it
CALIBRATION_IMAGES = 200
SAMPLE_IMAGES = 1000


# ---------------------------------------------------------------------------------------------- data


def read_idx(path: Path) -> U8:
    """Read one gzip-compressed IDX file of unsigned bytes."""
    with gzip.open(path, "rb") as file:
        raw = file.read()
    zero, kind, rank = struct.unpack(">HBB", raw[:4])
    if zero != 0 or kind != 0x08:
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load_split(folder: Path, prefix: str) -> tuple[U8, I64]:
    """Load images as uint8 [N,28,28,1] and labels as int64 [N]; prefix is "train" or "t10k"."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return images[..., None], labels.astype(np.int64)


def scale(images: U8) -> npt.NDArray[np.float32]:
    """Turn uint8 pixels into the network's input: float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(255.0)


class AugmentedBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled training batches, each image shifted by up to two pixels and flipped half the time."""

    def __init__(self, images: U8, labels: I64, batch: int, seed: int, shift: int = 2) -> None:
        """Hold the training images, padded so that a shift is a crop."""
        super().__init__()
        pad = ((0, 0), (shift, shift), (shift, shift), (0, 0))
        self._images = np.pad(images, pad)
        self._targets = np.eye(10, dtype=np.float32)[labels]
        self._batch = batch
        self._shift = shift
        self._rng = np.random.default_rng(seed)
        self._order = self._rng.permutation(len(labels))

    def __len__(self) -> int:
        """Return the number of full batches in one epoch."""
        return len(self._targets) // self._batch

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Build one augmented batch."""
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        top, left = self._rng.integers(0, 2 * self._shift + 1, (2, len(chosen), 1))
        rows = top + np.arange(28)
        columns = left + np.arange(28)
        flip = self._rng.random(len(chosen)) < 0.5
        columns[flip] = columns[flip, ::-1]
        crops = self._images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return scale(crops), self._targets[chosen]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._order = self._rng.permutation(self._order)


# ------------------------------------------------------------------------------------------- network


def hard_swish(x: Any) -> Any:
    """Apply ``x * relu6(x + 3) / 6``, written the way the converter fuses into one HARD_SWISH."""
    return x * keras.ops.relu6(x + 3.0) * (1.0 / 6.0)


def conv_bn(x: Any, filters: int, kernel: int, name: str) -> Any:
    """Convolution without bias, then batch normalization."""
    x = layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def separable(x: Any, filters: int, stride: int, name: str) -> Any:
    """Depthwise 3x3 and pointwise convolution; a residual addition where the shapes allow it."""
    y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_dw")(x)
    y = hard_swish(layers.BatchNormalization(name=f"{name}_dw_bn")(y))
    y = conv_bn(y, filters, 1, f"{name}_pw")
    if stride == 1 and x.shape[-1] == filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return hard_swish(y)


def build_network() -> keras.Model:
    """Build the untrained network."""
    image = keras.Input((28, 28, 1), name="image")
    x = hard_swish(conv_bn(image, 16, 3, "stem"))
    x = separable(x, 48, 2, "block1")
    x = separable(x, 48, 1, "block2")
    x = separable(x, 128, 2, "block3")
    x = separable(x, 128, 1, "block4")
    x = separable(x, 128, 1, "block5")
    x = hard_swish(conv_bn(x, 192, 1, "head"))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    x = layers.Dense(10, name="logits")(x)
    return keras.Model(image, layers.Softmax(name="probabilities")(x), name="fashion_mnist")


def train(images: U8, labels: I64, epochs: int, batch: int, seed: int) -> keras.Model:
    """Train a new network; the learning rate warms up for one epoch, then falls along a cosine."""
    batches = AugmentedBatches(images, labels, batch, seed)
    steps = len(batches)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=1e-4,
        decay_steps=max(1, steps * (epochs - 1)),
        warmup_target=3e-3,
        warmup_steps=steps,
    )
    network = build_network()
    network.summary(line_length=100)
    # The trainer shares the layers; the network stays uncompiled and is saved without optimizer state.
    trainer = keras.Model(network.input, network.output)
    trainer.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=1e-2),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        metrics=["accuracy"],
    )
    trainer.fit(batches, epochs=epochs, verbose=2, shuffle=False)
    return network


# ---------------------------------------------------------------------------------------- conversion


def convert(network: keras.Model) -> bytes:
    """Convert to a float32 TFLite model whose batch size is fixed to one."""
    if keras.backend.backend() != "tensorflow":
        raise SystemExit("the conversion needs KERAS_BACKEND=tensorflow; rerun with --convert-only")
    import tensorflow as tf

    def serve(image: Any) -> Any:
        return network(image, training=False)

    signature = [tf.TensorSpec([1, 28, 28, 1], tf.float32, name="image")]
    function = tf.function(serve, input_signature=signature).get_concrete_function()
    # No trackable object: the converter then freezes the variables of the function into constants.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    return bytes(converter.convert())


def predict(model: bytes, images: U8) -> tuple[I64, Counter[str]]:
    """Run a TFLite model image by image; return the predicted classes and its operator counts."""
    import tensorflow as tf

    # Without the default delegates the operator list is the file's own.
    interpreter = tf.lite.Interpreter(
        model_content=model,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    operators = Counter(str(op["op_name"]) for op in interpreter._get_ops_details())
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    classes = np.empty(len(images), np.int64)
    for i, image in enumerate(scale(images)):
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        classes[i] = int(np.argmax(interpreter.get_tensor(target)))
    return classes, operators


# ---------------------------------------------------------------------------------------------- main


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Train the Fashion-MNIST demo network.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the four .gz files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where to write")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--convert-only", action="store_true", help="reuse the saved .keras network")
    return parser.parse_args()


def main() -> None:
    """Train, save, convert, measure, and write the two sample sets."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    train_x, train_y = load_split(args.data, "train")
    test_x, test_y = load_split(args.data, "t10k")

    # The calibration images are held out: the network never trains on them.
    order = np.random.default_rng(args.seed).permutation(len(train_y))
    held, used = order[:CALIBRATION_IMAGES], order[CALIBRATION_IMAGES:]
    sample = np.random.default_rng(args.seed).permutation(len(test_y))[:SAMPLE_IMAGES]

    saved = args.out / "fashion_mnist.keras"
    if args.convert_only:
        network = keras.saving.load_model(saved, compile=False)
    else:
        keras.utils.set_random_seed(args.seed)
        network = train(train_x[used], train_y[used], args.epochs, args.batch, args.seed)
        network.save(saved)

    np.savez_compressed(args.out / "fashion_mnist.npz", x=test_x[sample], y=test_y[sample])
    np.savez_compressed(args.out / "fashion_mnist_calibration.npz", x=train_x[held], y=train_y[held])

    model = convert(network)
    (args.out / "fashion_mnist.tflite").write_bytes(model)
    classes, operators = predict(model, test_x)
    hits = classes == test_y
    print(f"parameters: {network.count_params()}, .tflite: {len(model)} bytes")
    print("operators: " + ", ".join(f"{name} x{count}" for name, count in sorted(operators.items())))
    print(f"accuracy on the {len(hits)} test images: {hits.mean():.4f}")
    print(f"accuracy on the sample of {SAMPLE_IMAGES}: {hits[sample].mean():.4f}")


if __name__ == "__main__":
    main()
