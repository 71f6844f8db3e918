"""Views of a sample, for judging agreement with float; and what the draws of samples together say about them.

    python accuracy_views.py TARGET FOLDER...

Agreement needs no labels, so a sample counts as often as there are natural ways to look at it: mirrored and shifted
images, spectrograms a little earlier or louder or with noise. Views of one sample are much alike, and so are the files
of two draws: the test and the interval take all that comes from one sample as one.

Reads ``same.npz`` of each folder (one draw of the samples each, as `accuracy_judge.py` leaves it), and writes the
agreement of each file on all views of all draws and, of each peer's, how much tersor's is higher.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from paired import exact_flips, resampled_shares

OURS = "tersor"


def photograph(sample: Any, _: int) -> Any:
    """As it is, and mirrored: runs of a large network cost much."""
    return np.stack([sample, sample[:, ::-1]])


def image(steps: Iterable[int]) -> Callable[[Any, int], Any]:
    """Shifted by so many sixteenths of its side, both ways, with the border's pixels repeated; each mirrored, too."""
    shifts = sorted(product(sorted(steps, key=abs), repeat=2), key=lambda shift: (abs(shift[0]), abs(shift[1])))

    def views(sample: Any, _: int) -> Any:
        side = round(sample.shape[0] / 16)
        shifted = [moved(moved(sample, down * side, 0), right * side, 1) for down, right in shifts]
        return np.stack([item for one in shifted for item in (one, one[:, ::-1])])

    return views


FRAMES = (0, -4, -2, 2, 4)
"""Of 20 ms: how much later a word is said."""

MEL_BANDS, SILENCE = 40, 1e-6
"""Of the features of MLPerf Tiny: bands under the cosine transform, and what is added before the logarithm."""

LOUDER_DB = (0, -3, 3)
NOISE = 0.1
"""Its standard deviation over that of each coefficient of the sample: 20 dB below."""


def spectrogram(sample: Any, number: int) -> Any:
    """Earlier and later, softer and louder, each with a little noise, too; cepstra `[frames, coefficients, 1]`."""
    unit = math.sqrt(2 * MEL_BANDS)  # what all logarithms by 1 larger make the first coefficient larger by
    found = []
    for frames, decibel in product(FRAMES, LOUDER_DB):
        view = moved(sample, frames, 0).copy()
        louder = view[:, 0] + unit * decibel / 20 * math.log(10)
        view[:, 0] = np.maximum(louder, unit * math.log(SILENCE)) if decibel else view[:, 0]
        found.append(view)
    # the same noise whenever this sample is drawn
    noise = np.random.default_rng(number).normal(size=(len(found), *sample.shape)) * NOISE * sample.std(0)
    return np.concatenate([found, found + noise]).astype(sample.dtype)


def moved(values: Any, places: int, axis: int) -> Any:
    """Shifted along an axis; what comes in is the border again."""
    count = values.shape[axis]
    return values.take(np.clip(np.arange(count) - places, 0, count - 1), axis)


VIEWS: Mapping[str, Callable[[Any, int], Any]] = {
    "none": lambda sample, _: sample[None],
    "photograph": photograph,
    "image": image((-1, 0, 1)),
    "small image": image((-2, -1, 0, 1, 2)),
    "spectrogram": spectrogram,
}
"""By kind: from a sample and its number in the data all its views, the sample as it is first."""


def combined(folders: Iterable[Path]) -> dict[str, Any]:
    """What the draws together say."""
    draws = [dict(np.load(folder / "same.npz")) for folder in folders]
    sources = np.concatenate([draw.pop("sources") for draw in draws])
    clusters, places = np.unique(sources, return_inverse=True)

    def by_sample(values: Any) -> Any:
        return np.bincount(places, values, len(clusters))

    keys = [key for key in draws[0] if all(key in draw for draw in draws)]
    same = {key: np.concatenate([draw[key] for draw in draws]) for key in keys}
    views = next(iter(same.values())).shape[1]
    judged = by_sample(np.full(len(sources), views))
    files: dict[str, Any] = {key: {"agreement": float(item.mean())} for key, item in same.items()}
    for key, item in same.items():
        ours = same.get(f"{OURS}.{key.partition('.')[2]}")
        if ours is not None and ours is not item:
            gained = by_sample(ours.sum(1, dtype=np.int64) - item.sum(1, dtype=np.int64))
            files[key]["tersor_less_this"] = {
                "difference": float(gained.sum() / judged.sum()),
                "interval": resampled_shares(gained, judged),
                "p": exact_flips(np.rint(gained).astype(np.int64)),
            }
    counts = {"views": views, "draws": len(draws), "samples": len(clusters), "judged": int(judged.sum())}
    return {**counts, "files": files}


def main() -> None:
    """Combine."""
    target, *folders = map(Path, sys.argv[1:])
    target.write_text(json.dumps(combined(folders)))


if __name__ == "__main__":
    main()
