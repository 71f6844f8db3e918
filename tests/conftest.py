"""What test modules share: one child process that runs models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

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
