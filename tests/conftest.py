"""What test modules share: a child process that runs models, and the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from small_nets import classifier, images
from tersor.cli.main import main
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.runtimes.engine import Engine

Run = Callable[..., list[Array]]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A child process with the native runtime, for models that do not crash it."""
    with Engine(time_limit=120) as engine:
        yield engine


@pytest.fixture
def run(engine: Engine, tmp_path: Path) -> Run:
    """Runs a model (or a file, or its bytes) on the given inputs and returns its outputs."""

    def run_once(model: Model | Path | bytes, inputs: Sequence[Array], kernels: str = "xnnpack") -> list[Array]:
        path = model if isinstance(model, Path) else tmp_path / "model.tflite"
        if isinstance(model, Model):
            tflite.write(model, path)
        elif isinstance(model, bytes):
            path.write_bytes(model)
        handle = engine.open(str(path), kernels)
        outputs = handle.run(inputs)
        handle.close()
        return outputs

    return run_once


@dataclass(frozen=True)
class Answer:
    """What the command line answered."""

    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def cli(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the `tersor` command in this process, in `place`, with the given arguments."""

    def call(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tersor", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder that holds `net.tflite`, a small classifier, and `x.npy`, 24 samples for it.

    Commands keep what they measure in an empty folder elsewhere, not in that of who runs the tests.
    """
    monkeypatch.setenv("TERSOR_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path)
    tflite.write(classifier(), tmp_path / "net.tflite")
    np.save(tmp_path / "x.npy", images(24))
    return tmp_path
