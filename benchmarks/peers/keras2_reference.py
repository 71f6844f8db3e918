"""What Keras 2 answers to the samples, and what Keras 3 does with the file; runs in the environment with tf-keras.

    python keras2_reference.py MODEL FOLDER

Writes ``reference.npy`` and ``keras_3.txt``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tf_keras


def main() -> None:
    """Ask both."""
    model, folder = map(Path, sys.argv[1:])
    try:
        keras.models.load_model(model, compile=False)
        verdict = "reads it"
    except Exception as error:  # whatever it raises, the file is refused
        verdict = f"refuses it ({type(error).__name__})"
    (folder / "keras_3.txt").write_text(verdict)
    loaded = tf_keras.models.load_model(model, compile=False)
    np.save(folder / "reference.npy", loaded.predict(np.load(folder / "samples.npy"), batch_size=10, verbose=0))


if __name__ == "__main__":
    main()
