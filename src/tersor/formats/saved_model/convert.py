"""The child's main program: one request on standard input, a `.tflite` file and an answer in the folder it names.

The request and the answer are JSON objects. The process ends when its standard input does, so that it does not outlive
a parent that was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tersor.errors import TersorError, UnsupportedError

ANSWER, RESULT, FALLBACK = "answer.json", "model.tflite", "with_tensorflow_ops.tflite"
SIGNATURE = "serving_default"
"""Of the model that is converted, whatever the original's is called."""


def main() -> None:
    """Convert what the request asks for; whatever goes wrong is an answer, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_first()
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(request["folder"])
    try:
        answer = _answer(request, folder)
    except TersorError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        answer = {"error": "RuntimeFailure", "message": "TensorFlow ran out of memory"}
    except Exception as error:
        answer = {"error": "UnsupportedError", "message": f"TensorFlow cannot convert it: {_reason(error)}"}
    part = folder / f"{ANSWER}.part"
    part.write_text(json.dumps(answer), "utf-8")
    part.replace(folder / ANSWER)
    sys.stdout.flush()
    os._exit(0)  # TensorFlow's own end takes time, and crashes now and then


def _die_first() -> None:
    """Where memory runs out, the system is to end this process, not its parent nor the user's others."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _answer(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    try:
        import tensorflow as tf
    except ImportError as error:
        if error.name == "tensorflow":
            return {"missing": "tensorflow"}
        raise UnsupportedError(f"TensorFlow is installed, but cannot be imported: {_reason(error)}") from error
    from tersor.formats.saved_model.keras_source import source_of_keras
    from tersor.formats.saved_model.sources import source_of_graph, source_of_saved_model

    kinds = {"saved_model": source_of_saved_model, "graph": source_of_graph, "keras": source_of_keras}
    source = kinds[request["kind"]](request)
    inputs = {f"input_{number}": name for number, name in enumerate(source.specs)}  # any name, numbered, is allowed
    outputs: dict[str, str] = {}

    def traced(**arguments: Any) -> Mapping[str, Any]:
        results = source.function(**{name: arguments[number] for number, name in inputs.items()})
        outputs.update({f"output_{number}": name for number, name in enumerate(results)})
        return dict(zip(outputs, results.values(), strict=True))

    specs = {
        number: tf.TensorSpec(source.specs[name].shape, source.specs[name].dtype, number)
        for number, name in inputs.items()
    }
    function = tf.function(traced).get_concrete_function(**specs)
    owner = tf.Module()
    owner.source = source.owner
    fixed = folder / "fixed"
    tf.saved_model.save(owner, str(fixed), signatures={SIGNATURE: function})
    return {
        "file": _converted(fixed, folder),
        "description": f"converted by TensorFlow {tf.__version__}",
        "signature": source.key,
        "inputs": inputs,
        "outputs": outputs,
    }


def _converted(fixed: Path, folder: Path) -> str:
    """Convert with LiteRT's operators; if that fails, find out by a second try whether operators are the reason."""
    try:
        (folder / RESULT).write_bytes(_tflite(fixed, fallback=False))
    except Exception as error:
        try:
            (folder / FALLBACK).write_bytes(_tflite(fixed, fallback=True))
        except Exception:
            raise UnsupportedError(f"TensorFlow cannot convert it: {_reason(error)}") from error
        return FALLBACK
    return RESULT


def _tflite(fixed: Path, *, fallback: bool) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(fixed), signature_keys=[SIGNATURE])
    if fallback:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        converter.allow_custom_ops = True
    return bytes(converter.convert())


def _reason(error: Exception) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = next((line for line in lines if "error:" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {line.partition('error: ')[2] or line}"[:400]
