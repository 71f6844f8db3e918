"""Changes of samples that leave their meaning: other ones in every epoch, before values are normalized."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tersor.errors import DataError, RecipeError
from tersor.ir.graph import Array

NONE = "none"


def flip(x: Array, random: np.random.Generator, strength: float) -> Array:
    """Mirror left and right, with this probability."""
    return x[:, ::-1] if random.random() < strength else x


def shift(x: Array, random: np.random.Generator, strength: float) -> Array:
    """Move by up to this share of height and width; what comes in is mirrored at the border."""
    most = [min(int(strength * size + 0.5), size - 1) for size in x.shape[:2]]
    padded = np.pad(x, [(size, size) for size in most] + [(0, 0)] * (x.ndim - 2), mode="reflect")
    top, left = (int(random.integers(0, 2 * size + 1)) for size in most)
    return padded[top : top + x.shape[0], left : left + x.shape[1]]


def brightness(x: Array, random: np.random.Generator, strength: float) -> Array:
    """Add up to this share of the range of values, or take it away."""
    return _within(x, _real(x) + np.float32(random.uniform(-strength, strength) * _span(x)))


def contrast(x: Array, random: np.random.Generator, strength: float) -> Array:
    """Differences from the mean grow or shrink by up to this share."""
    values = _real(x)
    mean = np.float32(values.mean(dtype=np.float64))
    return _within(x, mean + (values - mean) * np.float32(1 + random.uniform(-strength, strength)))


def time_shift(x: Array, random: np.random.Generator, strength: float) -> Array:
    """Move along the first axis by up to this share of it; what is left empty is 0."""
    most = int(strength * len(x) + 0.5)
    by = int(random.integers(-most, most + 1))
    moved = np.zeros_like(x)
    if by >= 0:
        moved[by:] = x[: len(x) - by]
    else:
        moved[:by] = x[-by:]
    return moved


def noise(x: Array, random: np.random.Generator, strength: float) -> Array:
    """Add normal noise, with up to this share of the values' own deviation."""
    values = _real(x)
    deviation = np.float32(random.uniform(0, strength) * values.std(dtype=np.float64))
    return _within(x, values + deviation * random.standard_normal(x.shape, np.float32))


_Change = Callable[[Array, np.random.Generator, float], Array]

AUGMENTATIONS: dict[str, tuple[_Change, float, int]] = {
    "flip": (flip, 0.5, 2),
    "shift": (shift, 0.125, 2),
    "brightness": (brightness, 0.2, 1),
    "contrast": (contrast, 0.2, 1),
    "time_shift": (time_shift, 0.1, 1),
    "noise": (noise, 0.1, 1),
}
"""What is done, how much of it by default, and how many axes it needs."""


@dataclass(frozen=True)
class Augmentation:
    """Several changes in turn.

    Attributes:
        steps: names in `AUGMENTATIONS`, each with how much of it.
    """

    steps: tuple[tuple[str, float], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __str__(self) -> str:
        return ", ".join(f"{name}={strength:g}" for name, strength in self.steps) or NONE

    def apply(self, x: Array, random: np.random.Generator, source: str) -> Array:
        """One raw sample, changed. Raises DataError for one without the axes that it takes."""
        for name, strength in self.steps:
            change, _, axes = AUGMENTATIONS[name]
            if x.ndim < axes:
                raise DataError(f"{source}: --augment {name} is for images, and a sample has the shape {list(x.shape)}")
            x = change(x, random, strength)
        return x


def parse_augmentation(text: str) -> Augmentation:
    """What `--augment` says: names between commas, each with how much of it if need be. Raises RecipeError."""
    steps = []
    for part in (item.strip() for item in text.split(",") if item.strip() and item.strip() != NONE):
        name, equals, amount = part.partition("=")
        if name not in AUGMENTATIONS:
            raise RecipeError(f"--augment {name!r}: there are {', '.join(AUGMENTATIONS)}, {NONE}")
        strength = AUGMENTATIONS[name][1]
        if equals:
            strength = _share(part, amount)
        steps.append((name, strength))
    return Augmentation(tuple(steps))


def usual_augmentation(values: object, shape: Sequence[int]) -> Augmentation:
    """What is done if nothing is said: images of bytes are shifted, which tells no class from another."""
    is_image = isinstance(values, np.ndarray) and values.dtype == np.uint8 and len(shape) == 4 and min(shape[1:3]) > 8
    return Augmentation((("shift", AUGMENTATIONS["shift"][1]),)) if is_image else Augmentation()


def _share(part: str, amount: str) -> float:
    try:
        found = float(amount)
    except ValueError:
        found = -1
    if not 0 < found <= 1:
        raise RecipeError(f"--augment {part}: it takes a number above 0 and up to 1")
    return found


def _real(x: Array) -> Array:
    return np.asarray(x, np.float32)


def _span(x: Array) -> float:
    return 255.0 if x.dtype == np.uint8 else float(x.max()) - float(x.min())


def _within(before: Array, after: Array) -> Array:
    """Pixels stay within 0..255; other numbers have no bounds."""
    return np.clip(after, 0, 255) if before.dtype == np.uint8 else after
