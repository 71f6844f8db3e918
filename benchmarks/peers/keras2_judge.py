"""What tersor answers to the samples, beside the reference; runs in tersor's environment.

python keras2_judge.py MODEL FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import tersor
from tersor.stages.load import runnable


def main() -> None:
    """Compare answers, and write ``report.json``."""
    model, folder = map(Path, sys.argv[1:])
    samples, labels, reference = (np.load(folder / f"{name}.npy") for name in ("samples", "labels", "reference"))
    found: dict[str, Any] = {
        "samples": len(samples),
        "keras_3": (folder / "keras_3.txt").read_text(),
        "reference_correct": int((reference.argmax(-1) == labels).sum()),
    }
    with runnable(tersor.load(model)) as path:
        for kernels in ("xnnpack", "builtin"):
            answers = tersor.run(path, (sample[None] for sample in samples), kernels=kernels)
            ours = np.concatenate([next(iter(answer.values())) for answer in answers])
            differences = np.abs(ours - reference).max(-1) / np.abs(reference).max(-1)
            found[kernels] = {
                "correct": int((ours.argmax(-1) == labels).sum()),
                "same_answer": int((ours.argmax(-1) == reference.argmax(-1)).sum()),
                "difference": float(differences.max()),
            }
    (folder / "report.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
