"""Folders of sound."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from conftest import Cli
from small_nets import dense, through_file
from tersor.data.audio_folder import read_wave
from tersor.data.features import FrontEnd, parse
from tersor.errors import DataError, RecipeError, TersorWarning
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.stages.load_data import load_data, load_inputs

RATE = 8000


def listener(*shape: int) -> Model:
    builder = Builder("listener")
    x = builder.input("x", [1, *shape])
    size = int(np.prod(shape))
    flat = builder.op("RESHAPE", [x, builder.constant("shape", np.array([1, size], np.int32))], [1, size])
    return through_file(builder.model([dense(builder, flat, 2)]))


def tone(hertz: float, count: int = 800) -> Array:
    return np.round(12000 * np.sin(2 * np.pi * hertz * np.arange(count) / RATE)).astype(np.int16)


def write(path: Path, values: Array, rate: int = RATE, channels: int = 1, width: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(values.tobytes())
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name, hertz in (("high", 900), ("low", 200)):
        for number in range(15):
            write(tmp_path / "clips" / name / f"{number:02}.wav", tone(hertz + number))
    return tmp_path / "clips"


def test_samples_are_what_was_written(tmp_path: Path) -> None:
    values = np.array([0, 1, -1, 32767, -32768], np.int16)
    found, rate = read_wave(write(tmp_path / "a.wav", values, 11025))
    assert rate == 11025
    assert found.dtype == np.float32
    assert (found * 32768 == values).all()


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    found, _ = read_wave(write(tmp_path / "a.wav", np.array([100, 200, -10, 10], np.int16), channels=2))
    assert (found * 32768 == [150, 0]).all()


def test_folders_are_classes_and_clips_fit_the_model(clips: Path) -> None:
    write(clips / "low" / "short.WAV", tone(200, 300))
    write(clips / "low" / "long.wav", tone(200, 1000))
    data = load_data(str(clips), listener(800))
    samples = {Path(sample.source).name: sample for sample in data if "low" in sample.source}
    assert data.classes == ("high", "low")
    assert {sample.label for sample in samples.values()} == {1}
    short, long = (np.asarray(samples[name].inputs) for name in ("short.WAV", "long.wav"))
    assert short.shape == long.shape == (800,)
    assert (short[300:] == 0).all()
    assert (short[:300] == long[:300]).all()
    assert "sound is of 16 bits at 8000 Hz, 800 samples a clip; it goes in as numbers in [-1, 1)" in data.notes


@pytest.mark.parametrize("shape", [(800,), (800, 1), (1, 800)])
def test_axes_of_one_are_of_no_concern(clips: Path, shape: tuple[int, ...]) -> None:
    assert np.asarray(next(iter(load_data(str(clips), listener(*shape)))).inputs).shape == shape


def kaldi(samples: Array, front: FrontEnd) -> Array:
    """Kaldi's definition, written down once more, in float64."""
    window, step = int(front.rate * front.window / 1000), int(front.rate * front.step / 1000)
    size = 1 << (window - 1).bit_length()
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64) * front.scale, window)[::step]
    frames = frames - frames.mean(1, keepdims=True)
    frames = frames - front.preemphasis * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    taper = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1))) ** 0.85
    power = np.abs(np.fft.rfft(frames * taper, size))[:, : size // 2] ** 2

    def mel(hertz: Array) -> Array:
        return np.asarray(1127 * np.log1p(hertz / 700))

    top = front.high if front.high > 0 else front.rate / 2 + front.high
    edges = np.linspace(mel(np.array(front.low)), mel(np.array(top)), front.bins + 2)[:, np.newaxis]
    place = mel(np.arange(size // 2) * front.rate / size)
    up, down = (place - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - place) / (edges[2:] - edges[1:-1])
    energy = power @ np.maximum(0, np.minimum(up, down)).T
    result = np.log(np.maximum(energy, np.finfo(np.float32).eps))
    if front.kind == "log_mel":
        return np.asarray(result)
    order = np.arange(front.coefficients)[:, np.newaxis]
    cosines = np.sqrt(2 / front.bins) * np.cos(np.pi / front.bins * (np.arange(front.bins) + 0.5) * order)
    cosines[0] = np.sqrt(1 / front.bins)
    return np.asarray(result @ cosines.T * (1 + front.lifter / 2 * np.sin(np.pi * order[:, 0] / front.lifter)))


@pytest.mark.parametrize(
    "text",
    [
        "log_mel",
        "log_mel:bins=40,low=60,high=3800,scale=32768",
        "mfcc",
        "mfcc:bins=40,coefficients=10,window=40,step=20",
        "mfcc:preemphasis=0,lifter=11,high=-200",
    ],
)
def test_features_are_what_kaldi_defines(text: str) -> None:
    pytest.importorskip("kaldi_native_fbank", reason="the extra 'audio' is not installed")
    samples = np.random.default_rng(3).uniform(-0.3, 0.3, 4000).astype(np.float32)
    front = parse(text, RATE)
    found = front.apply(samples)
    assert found.dtype == np.float32
    assert np.abs(found - kaldi(samples, front)).max() < 1e-3
    assert (found == front.apply(samples)).all()  # nothing is dithered
    assert parse(str(front), RATE) == front
    assert len(found) == (4000 - front.samples(1)) // (front.samples(2) - front.samples(1)) + 1


def test_features_fit_the_model(clips: Path) -> None:
    pytest.importorskip("kaldi_native_fbank", reason="the extra 'audio' is not installed")
    features = "mfcc:bins=20,coefficients=10,window=20,step=10"
    data = load_data(str(clips), listener(9, 10, 1), features=features)
    assert {np.asarray(sample.inputs).shape for sample in data} == {(9, 10)}
    assert "800 samples a clip; it goes in as mfcc:rate=8000,window=20,step=10,bins=20" in data.notes[0]
    with pytest.raises(DataError, match=r"mfcc gives \[frames, 13\], and the model takes 9x10x1"):
        load_data(str(clips), listener(9, 10, 1), features="mfcc")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("mel", "there are log_mel and mfcc"),
        ("mfcc:bin=3", "'bin' is none of rate, window"),
        ("mfcc:bins=x", "'bins=x' is not a number"),
        ("mfcc:coefficients=30", "coefficients are from 1 to the number of bins"),
        ("mfcc:high=9000", r"half the rate \(4000 Hz\)"),
        ("mfcc:step=0", "at least one sample"),
        ("mfcc:window=nan", "finite"),
        ("mfcc:taper=kaiser", "taper is povey"),
        ("mfcc:rate=16000", "asks for sound at 16000 Hz, and it has 8000 Hz"),
    ],
)
def test_features_that_are_none(clips: Path, features: str, message: str) -> None:
    with pytest.raises((RecipeError, DataError), match=message):
        load_data(str(clips), listener(98, 13), features=features)


def test_missing_library_is_named(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaldi_native_fbank", None)
    with pytest.raises(RecipeError, match=r"pip install 'tersor\[audio\]'"):
        load_data(str(clips), listener(98, 13), features="mfcc")


def test_features_of_images_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 800), np.float32))
    with pytest.raises(RecipeError, match="--features is for folders of"):
        load_data(str(tmp_path / "x.npy"), listener(800), features="mfcc")


def spoil(clips: Path, kind: str) -> Path:
    path = clips / "low" / "07.wav"
    match kind:
        case "cut":
            path.write_bytes(path.read_bytes()[:-200])
        case "header":
            path.write_bytes(path.read_bytes()[:30])
        case "text":
            path.write_text("hello")
        case "empty":
            write(path, np.zeros(0, np.int16))
        case "8 bits":
            write(path, np.zeros(800, np.uint8), width=1)
        case _:
            write(path, tone(200), 16000)
    return path


@pytest.mark.parametrize("kind", ["cut", "header", "text", "empty", "8 bits", "rate"])
def test_clip_that_cannot_be_used(clips: Path, kind: str) -> None:
    path = spoil(clips, kind)
    with pytest.raises(DataError, match=r"low/07\.wav: .*--skip-bad"):
        list(load_data(str(clips), listener(800)))
    data = load_data(str(clips), listener(800), skip_bad=True)
    with pytest.warns(TersorWarning, match=r"left out: .*07\.wav"):
        assert str(path) not in {sample.source for sample in data}


def test_model_that_takes_no_row_of_samples(clips: Path) -> None:
    with pytest.raises(DataError, match=r"one row of samples, and the model takes 9x10x1; give --features"):
        load_data(str(clips), listener(9, 10, 1))


def test_single_file(clips: Path) -> None:
    (sample,) = load_inputs([str(clips / "low" / "00.wav")], listener(800))
    assert np.asarray(sample.inputs).shape == (800,)


def test_quantize_on_sound(cli: Cli, place: Path, clips: Path) -> None:
    pytest.importorskip("kaldi_native_fbank", reason="the extra 'audio' is not installed")
    tflite.write(listener(9, 10, 1), place / "ear.tflite")
    features = ("--features", "mfcc:bins=20,coefficients=10,window=20,step=10")
    answer = cli("quantize", "ear.tflite", "--data", clips, *features, "--samples", "12")
    assert answer.code == 0, answer.err
    assert "it goes in as mfcc:rate=8000,window=20,step=10,bins=20" in answer.err
    answer = cli("evaluate", "ear.int8.tflite", "--data", clips, *features, "--json")
    assert answer.code == 0, answer.err
    answer = cli("run", "ear.int8.tflite", clips / "low" / "03.wav", *features)
    assert answer.code == 0, answer.err
