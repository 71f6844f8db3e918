"""What TensorFlow is asked for."""

from __future__ import annotations

from dataclasses import dataclass

HOUR = 3600.0


@dataclass(frozen=True)
class Conversion:
    """How TensorFlow reads a model, where it has to.

    Attributes:
        via_tensorflow: also have TensorFlow read what tersor could: Keras files.
        signature: of a SavedModel; None for its only one, or `serving_default`.
        tags: of the graph in the SavedModel; none for its only one, or the one tagged `serve`.
        graph_inputs: names of a frozen graph's inputs; none for its placeholders.
        graph_outputs: likewise; none for the results that nothing reads.
        select_tf_ops: leave operators that LiteRT does not have as TensorFlow's own.
        trust_code: run a model that holds Python code or reaches for files; only for models of one's own.
        time_limit: seconds after which the conversion is stopped.
    """

    via_tensorflow: bool = False
    signature: str | None = None
    tags: tuple[str, ...] = ()
    graph_inputs: tuple[str, ...] = ()
    graph_outputs: tuple[str, ...] = ()
    select_tf_ops: bool = False
    trust_code: bool = False
    time_limit: float = HOUR

    @property
    def is_for_keras(self) -> bool:
        """Whether a Keras file is to go through TensorFlow."""
        return self.via_tensorflow or self.trust_code or self.select_tf_ops

    @property
    def options(self) -> tuple[str, ...]:
        """What was asked for, as options of the command line."""
        asked = {
            "--via tensorflow": self.via_tensorflow,
            "--signature": self.signature is not None,
            "--tags": self.tags,
            "--graph-inputs": self.graph_inputs,
            "--graph-outputs": self.graph_outputs,
            "--select-tf-ops": self.select_tf_ops,
            "--trust-code": self.trust_code,
        }
        return tuple(name for name, value in asked.items() if value)
