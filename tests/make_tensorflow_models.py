"""Makes models of every kind that TensorFlow converts, inputs for them, and what TensorFlow answers.

Run as a program of its own, where TensorFlow is installed: `python make_tensorflow_models.py FOLDER`. Each model NAME
comes with NAME.npz (inputs `in:x`, results `out:y`), where it can be run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

FOLDER = Path(sys.argv[1])
RANDOM = np.random.default_rng(0)


def values(*shape: int) -> Any:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def spec(*shape: int | None, dtype: Any = tf.float32, name: str = "x") -> Any:
    return tf.TensorSpec(shape, dtype, name)


def record(name: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    arrays = {f"in:{key}": value for key, value in inputs.items()}
    arrays |= {f"out:{key}": np.asarray(value) for key, value in outputs.items()}
    np.savez(FOLDER / f"{name}.npz", allow_pickle=False, **arrays)


def save(name: str, function: Callable[..., Any], *specs: Any, owner: Any = None, inputs: Any = None) -> None:
    """One signature, `serving_default`, and its answers."""
    traced = tf.function(function, input_signature=specs)
    tf.saved_model.save(owner or tf.Module(), str(FOLDER / name), signatures=traced)
    if inputs is not None:
        record(name, inputs, traced(*inputs.values()))


def plain() -> None:
    owner = tf.Module()
    owner.kernel, owner.weights = tf.Variable(values(3, 3, 3, 8)), tf.Variable(values(8, 5))

    def function(image: Any) -> dict[str, Any]:
        y = tf.nn.relu(tf.nn.conv2d(image, owner.kernel, 2, "SAME"))
        pooled = tf.reduce_mean(y, [1, 2])
        return {"scores": tf.nn.softmax(pooled @ owner.weights), "features": pooled}

    def train(step: Any) -> Any:
        return owner.weights.assign_add(step)

    owner.train = tf.function(train, input_signature=[spec(8, 5)])
    save("plain", function, spec(None, 12, 12, 3, name="image"), owner=owner, inputs={"image": values(1, 12, 12, 3)})


def open_shape() -> None:
    kernel = tf.constant(values(3, 3, 3, 4))

    def function(x: Any) -> dict[str, Any]:
        return {"y": tf.nn.conv2d(x, kernel, 1, "SAME")}

    save("open_shape", function, spec(None, None, None, 3), inputs={"x": values(1, 6, 9, 3)})


def several() -> None:
    owner = tf.Module()
    owner.weights = tf.Variable(values(4, 3))
    one = tf.function(lambda x: {"y": x @ owner.weights}, input_signature=[spec(None, 4)])
    two = tf.function(lambda x: {"z": tf.nn.relu(x)}, input_signature=[spec(None, 4)])
    tf.saved_model.save(owner, str(FOLDER / "several"), signatures={"project": one, "clip": two})
    x = values(1, 4)
    record("several", {"x": x}, {"z": np.maximum(x, 0)})


def keras_models() -> None:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    left, right = keras.Input((8, 8, 2), name="right"), keras.Input((4,), name="a_left")
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(left))
    y = layers.Concatenate()([layers.GlobalAveragePooling2D()(y), layers.LSTM(3)(layers.Reshape((4, 1))(right))])
    model = keras.Model([left, right], [layers.Dense(3, name="wide")(y), layers.Dense(2, name="narrow")(y)])
    x = [values(1, 8, 8, 2), values(1, 4)]
    answers = dict(zip(("wide", "narrow"), model(x), strict=True))
    model.export(str(FOLDER / "recurrent"), verbose=False)
    for suffix in ("keras", "h5"):
        model.save(str(FOLDER / f"two_inputs.{suffix}"))
    record("two_inputs", {"right": x[0], "a_left": x[1]}, answers)

    image = keras.Input((8, 8, 2), name="image")
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(image))
    model = keras.Model(image, [layers.Dense(3)(layers.Flatten()(y)), layers.GlobalAveragePooling2D()(y)])
    model.export(str(FOLDER / "exported"), verbose=False)
    record("exported", {"image": x[0]}, dict(zip(("output_0", "output_1"), model(x[0]), strict=True)))

    one = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 3.0 + 1.0, name="secret")])
    for suffix in ("keras", "h5"):
        one.save(str(FOLDER / f"lambda.{suffix}"))
    x = values(1, 4)
    record("lambda", {one.inputs[0].name: x}, {"secret": x * 3 + 1})

    twice = type("Twice", (layers.Layer,), {"call": lambda _self, x: 2 * x})
    keras.Sequential([keras.Input((4,)), twice(name="own")]).save(str(FOLDER / "custom.keras"))
    video = keras.Input((4, 5, 5, 2), name="video")
    model = keras.Model(video, layers.Conv3D(3, 2, name="conv")(video))
    model.save(str(FOLDER / "conv3d.keras"))
    x = values(1, 4, 5, 5, 2)
    record("conv3d", {"video": x}, {"conv": model(x)})


def first_generation() -> None:
    tf1 = tf.compat.v1
    weights, x = values(4, 3), values(1, 4)
    for name, resource in (("tf1", True), ("tf1_ref", False)):
        with tf1.Graph().as_default(), tf1.Session() as session:
            given = tf1.placeholder(tf.float32, [None, 4], name="given")
            w = tf1.get_variable("w", initializer=weights, use_resource=resource)
            y = tf.nn.relu(tf.matmul(given, w), name="y")
            session.run(tf1.global_variables_initializer())
            tf1.saved_model.simple_save(session, str(FOLDER / name), {"features": given}, {"scores": y})
        record(name, {"features": x}, {"scores": np.maximum(x @ weights, 0)})


def frozen() -> None:
    weights = tf.Variable(values(6, 3))

    def network(image: Any, scale: Any) -> dict[str, Any]:
        return {"y": tf.nn.relu(image @ weights, name="middle") * scale}

    traced = tf.function(network).get_concrete_function(spec(None, 6, name="image"), spec(1, name="scale"))
    graph = convert_variables_to_constants_v2(traced)
    FOLDER.joinpath("frozen.pb").write_bytes(graph.graph.as_graph_def().SerializeToString())
    image, scale = values(1, 6), values(1)
    record("frozen", {"image": image, "scale": scale}, {"y": network(image, scale)["y"]})


def foreign_operators() -> None:
    x = values(1, 4)

    def select(x: Any) -> dict[str, Any]:
        return {"y": tf.math.cumprod(x) + 3 * tf.math.cumprod(2 * x)}

    def double(x: Any) -> dict[str, Any]:
        return {"y": 2 * x}

    def nowhere(x: Any) -> dict[str, Any]:
        return {"y": tf.math.erfc(x)}

    save("select", select, spec(None, 4), inputs={"x": x})
    save("double", double, spec(None, 4, dtype=tf.float64))
    save("nowhere", nowhere, spec(None, 4))


def hostile() -> None:
    mark = str(FOLDER / "mark.txt")

    def writes(x: Any) -> dict[str, Any]:
        tf.io.write_file(mark, "was here")
        return {"y": 2 * x}

    def reads(x: Any) -> dict[str, Any]:
        return {"y": x + tf.cast(tf.strings.length(tf.io.read_file(mark)), tf.float32)}

    def python(x: Any) -> dict[str, Any]:
        y = tf.numpy_function(lambda v: v, [x], tf.float32)
        return {"y": tf.ensure_shape(y, x.shape)}

    def prints(x: Any) -> dict[str, Any]:
        tf.print(x, output_stream=f"file://{mark}")
        return {"y": 2 * x}

    for function in (writes, reads, python, prints):
        save(function.__name__, function, spec(None, 4))
    owner = tf.Module()  # a table is filled as soon as it is loaded
    vocabulary = FOLDER / "vocabulary.txt"
    vocabulary.write_text("a\nb\n")
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    initializer = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, line, tf.int64, number)
    owner.table = tf.lookup.StaticHashTable(initializer, -1)
    save("at_loading", lambda x: {"y": owner.table.lookup(x)}, spec(None, dtype=tf.string), owner=owner)
    tf.saved_model.save(tf.Module(), str(FOLDER / "no_signature"))


for make in (plain, open_shape, several, keras_models, first_generation, frozen, foreign_operators, hostile):
    make()
