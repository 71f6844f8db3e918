"""Samples to calibrate on, and other, labelled ones to measure on; runs in tersor's environment.

    python accuracy_samples.py DATA FOLDER --samples 100 [--calibration DATA] [--rescale K] [--seed N]

DATA is a folder of photographs (a zip with a CSV) or an `.npz` of x and y. Without a file of its own, the samples to
calibrate on are drawn from DATA, and the others are measured on. Writes ``calibration.npy``, ``samples.npy`` (float32),
``labels.npy``, and ``sources.npy``, the places of the samples in DATA.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from keras2_samples import photos


def read(source: Path, rescale: float) -> tuple[Any, Any]:
    """Samples as the network wants them, and their classes."""
    if source.is_dir():
        samples, classes = photos(source)
        return samples, np.asarray(classes)
    with np.load(source) as arrays:
        return arrays["x"].astype(np.float32) * np.float32(rescale), arrays["y"].astype(np.int64)


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--rescale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    samples, labels = read(arguments.data, arguments.rescale)
    own = samples if arguments.calibration is None else read(arguments.calibration, arguments.rescale)[0]
    places = np.random.default_rng(arguments.seed).permutation(len(own))
    np.save(arguments.folder / "calibration.npy", own[places[: arguments.samples]])
    rest = places[arguments.samples :] if arguments.calibration is None else np.arange(len(samples))
    np.save(arguments.folder / "sources.npy", rest)
    np.save(arguments.folder / "samples.npy", samples[rest])
    np.save(arguments.folder / "labels.npy", labels[rest])


if __name__ == "__main__":
    main()
