"""Make one of Keras's applications and samples for it; runs in TensorFlow's environment.

    python make_network.py NAME FOLDER --samples COUNT --evaluation COUNT

Written to the folder: ``model.keras`` with live random weights (see `zoo/alive.py`) and any batch size,
``samples.npy``, ``evaluation.npy`` and at last ``model.json``. Without samples the weights are Keras's initial ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "zoo"))

import keras
import numpy as np
from alive import enliven
from make import SEED, build, images
from models import NETWORKS

STATISTICS = 16


def main() -> None:
    """Write everything to a folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--evaluation", type=int, default=0)
    arguments = parser.parse_args()
    network = next(each for each in NETWORKS if each.name == arguments.name)
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(SEED)
    model = build(network, network.side)
    if arguments.samples:
        enliven(model, images(network, STATISTICS, SEED + 1, network.side), SEED, norms=network.norms)
        np.save(folder / "samples.npy", images(network, arguments.samples, SEED + 2, network.side))
        np.save(folder / "evaluation.npy", images(network, arguments.evaluation, SEED + 3, network.side))
    model.save(folder / "model.keras")
    facts = {"model": network.name, "side": network.side, "parameters": model.count_params()}
    facts |= {"samples": arguments.samples, "evaluation": arguments.evaluation}
    (folder / "model.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
