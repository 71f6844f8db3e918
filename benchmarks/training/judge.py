"""What the files of a folder answer on the 10,000 test images; in tersor's environment.

    python judge.py FOLDER CIFAR.npz

Reads `*.tflite` and, where there are any, ``networks.npz`` and ``facts.json`` of `methods.py`. Writes ``found.json``
and ``right.npz``: which test images each file gets right. A network of which there is no file is judged by itself.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import tersor


def judged(folder: Path, images: Any, labels: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures by name, and the hits."""
    facts_path, networks_path = folder / "facts.json", folder / "networks.npz"
    facts = json.loads(facts_path.read_text()) if facts_path.exists() else {}
    networks = dict(np.load(networks_path)) if networks_path.exists() else {}
    figures: dict[str, Any] = {}
    right: dict[str, Any] = {}
    for path in sorted(folder.glob("*.tflite")):
        answers = answered(path, images)
        content = path.read_bytes()
        figures[path.stem] = {"bytes": len(content), "gzip_bytes": len(gzip.compress(content, 9, mtime=0))}
        right[path.stem] = answers == labels
        if path.stem in networks:
            figures[path.stem]["agreement"] = float((answers == networks[path.stem]).mean())
    for name, answers in networks.items():
        figures.setdefault(name, {})
        right.setdefault(name, answers == labels)
    for name, known in facts.get("files", {}).items():
        figures[name] |= known
    return {"files": figures, "steps": facts.get("steps", [])}, right


def answered(path: Path, images: Any) -> Any:
    """The file's classes, int64 [N]."""
    samples = (image[None].astype(np.float32) for image in images)
    return np.asarray([int(np.argmax(next(iter(result.values())))) for result in tersor.run(path, samples)])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with np.load(sys.argv[2]) as data:
        found, hits = judged(target, data["test_x"], data["test_y"])
    np.savez(target / "right.npz", **hits)
    (target / "found.json").write_text(json.dumps(found))
