"""Features of sound: log-mel energies and MFCC as Kaldi defines them, by kaldi-native-fbank (the extra 'audio').

A window is taken every step, its mean subtracted, and from each sample `preemphasis` times the one before; it is
tapered, filled up with zeros to a power of two, and its power spectrum taken; triangles, equally spaced on the scale
1127 ln(1 + f / 700), sum that into bins, whose natural logarithm is the log-mel energy
(`https://kaldi-asr.org/doc/feat.html`). MFCC are the first coefficients of their orthonormal DCT-II, liftered. Nothing
is dithered, so the same sound gives the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tersor.errors import DataError, RecipeError
from tersor.ir.graph import Array

KINDS = ("log_mel", "mfcc")

_TAPERS = ("povey", "hann", "hamming", "rectangular", "blackman")


@dataclass(frozen=True)
class FrontEnd:
    """What is computed of a clip.

    Attributes:
        kind: "log_mel" or "mfcc".
        rate: samples a second.
        window: milliseconds.
        step: milliseconds from one window to the next.
        bins: triangles.
        low: hertz where the first begins.
        high: hertz where the last ends; 0 or less: that far from half the rate.
        coefficients: of MFCC, the first one included.
        preemphasis: see the module.
        lifter: of MFCC; 0 for none.
        scale: samples in [-1, 1) are multiplied by it; Kaldi's own are integers, that is 32768.
        taper: povey, hann, hamming, rectangular or blackman.
    """

    kind: str
    rate: int
    window: float = 25.0
    step: float = 10.0
    bins: int = 23
    low: float = 20.0
    high: float = 0.0
    coefficients: int = 13
    preemphasis: float = 0.97
    lifter: float = 22.0
    scale: float = 1.0
    taper: str = "povey"

    def __post_init__(self) -> None:
        numbers = [getattr(self, item.name) for item in fields(self) if item.name not in ("kind", "taper")]
        if not all(math.isfinite(value) for value in numbers):
            raise RecipeError("--features: its parameters are finite numbers")
        top = self.high if self.high > 0 else self.rate / 2 + self.high
        rules = {
            "window and step are at least one sample long": min(self.window, self.step) * self.rate >= 1000,
            f"0 <= low < high <= half the rate ({self.rate / 2:g} Hz)": 0 <= self.low < top <= self.rate / 2,
            "there are at least 3 bins": self.bins >= 3,
            "coefficients are from 1 to the number of bins": 1 <= self.coefficients <= self.bins,
            f"taper is {', '.join(_TAPERS)}": self.taper in _TAPERS,
            "scale is above 0": self.scale > 0,
            "lifter and preemphasis are not negative": min(self.lifter, self.preemphasis) >= 0,
        }
        broken = [rule for rule, kept in rules.items() if not kept]
        if broken:
            raise RecipeError(f"--features: {broken[0]}")

    @property
    def size(self) -> int:
        """Features of a window."""
        return self.coefficients if self.kind == "mfcc" else self.bins

    def samples(self, frames: int) -> int:
        """Samples that so many windows take."""
        return int(self.rate * self.window / 1000) + (frames - 1) * int(self.rate * self.step / 1000)

    def apply(self, values: Array) -> Array:
        """Features [frames, size], float32, of samples in [-1, 1). Raises DataError if there are too few of them."""
        library = _library()
        if len(values) < self.samples(1):
            raise DataError(f"a clip of {len(values)} samples is shorter than a window of {self.samples(1)}")
        options = library.MfccOptions() if self.kind == "mfcc" else library.FbankOptions()
        frame, mel = options.frame_opts, options.mel_opts
        frame.samp_freq, frame.frame_length_ms, frame.frame_shift_ms = self.rate, self.window, self.step
        frame.dither, frame.preemph_coeff, frame.window_type = 0.0, self.preemphasis, self.taper
        frame.remove_dc_offset, frame.round_to_power_of_two, frame.snip_edges = True, True, True
        mel.num_bins, mel.low_freq, mel.high_freq = self.bins, self.low, self.high
        options.use_energy = False
        if self.kind == "mfcc":
            options.num_ceps, options.cepstral_lifter = self.coefficients, self.lifter
        computer = (library.OnlineMfcc if self.kind == "mfcc" else library.OnlineFbank)(options)
        computer.accept_waveform(self.rate, values * np.float32(self.scale))
        computer.input_finished()
        frames = range(computer.num_frames_ready)
        return np.stack([np.asarray(computer.get_frame(number), np.float32) for number in frames])

    def __str__(self) -> str:
        names = [item.name for item in fields(self) if item.name != "kind"]
        if self.kind != "mfcc":
            names = [name for name in names if name not in ("coefficients", "lifter")]
        values = (getattr(self, name) for name in names)
        parts = (
            f"{name}={value}" if isinstance(value, str) else f"{name}={value:g}"
            for name, value in zip(names, values, strict=True)
        )
        return f"{self.kind}:{','.join(parts)}"


def parse(text: str, rate: int) -> FrontEnd:
    """What `--features` asks for: "mfcc" or "log_mel", with parameters as in "mfcc:bins=40,coefficients=10".

    Args:
        text: see above; what a `FrontEnd` prints can be read again.
        rate: of the sound; another one in `text` is refused.

    Raises RecipeError, and DataError for a rate that is not the sound's.
    """
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise RecipeError(f"--features {text!r}: there are {' and '.join(KINDS)}, as in mfcc:bins=40,coefficients=10")
    given: dict[str, Any] = {}
    types = {item.name: item.type for item in fields(FrontEnd) if item.name != "kind"}
    for part in filter(None, rest.split(",")):
        name, _, value = part.partition("=")
        if name.strip() not in types:
            raise RecipeError(f"--features: {name.strip()!r} is none of {', '.join(types)}")
        kinds = {"int": int, "float": float, "str": str}
        try:
            given[name.strip()] = kinds[str(types[name.strip()])](value.strip())
        except ValueError:
            raise RecipeError(f"--features: {part.strip()!r} is not a number") from None
    wanted = given.pop("rate", rate)
    if wanted != rate:
        raise DataError(f"--features asks for sound at {wanted} Hz, and it has {rate} Hz; resample it")
    front_end = FrontEnd(kind, rate, **given)
    _library()  # now rather than at the first clip
    return front_end


def _library() -> Any:
    try:
        import kaldi_native_fbank
    except ImportError as error:
        raise RecipeError(f"--features needs kaldi-native-fbank: pip install 'tersor[audio]' ({error})") from error
    return kaldi_native_fbank
