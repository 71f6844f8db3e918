"""What can go wrong, as exceptions.

::

    TersorError                 everything below; `except TersorError` catches all that tersor raises on purpose
    |-- ModelError              the model file or graph
    |   |-- FormatError         not a readable model: wrong type, truncated, corrupted, compiled for a device
    |   |-- GraphError          a graph breaks an invariant (a defect of the file or of a pass)
    |   `-- UnsupportedError    readable, but holds something tersor cannot do; always with the reason
    |-- DataError               the samples: empty, NaN, wrong shape, unreadable
    |-- RecipeError             the recipe or an option of it
    |-- PlanError               the request cannot be met: names every operator to blame and why
    |-- VerificationError       what was made does not do what it should; nothing was written
    |-- RuntimeFailure          the native runtime refused, crashed or timed out (in its own process)
    |   |-- NeedsTensorFlow     it lacks the TensorFlow operators that the model holds
    |   `-- CompilerFailure     a target's compiler failed, crashed or timed out
    |       `-- CompilerMissing there is none on this machine
    `-- OutputError             the result could not be written

The message says what failed, where, what was expected and found, and what to do. Each class has the exit
code with which the command line ends.
"""

from __future__ import annotations

__all__ = [
    "CompilerFailure",
    "CompilerMissing",
    "DataError",
    "FormatError",
    "GraphError",
    "ModelError",
    "NeedsTensorFlow",
    "OutputError",
    "PlanError",
    "RecipeError",
    "RuntimeFailure",
    "TersorError",
    "TersorWarning",
    "UnsupportedError",
    "VerificationError",
]


class TersorError(Exception):
    """Base of all errors that tersor raises on purpose."""

    exit_code = 1


class ModelError(TersorError):
    """The model file or graph cannot be used."""

    exit_code = 3


class FormatError(ModelError):
    """The bytes are not a model that can be read."""


class GraphError(ModelError):
    """The graph breaks an invariant."""


class UnsupportedError(ModelError):
    """The model holds something that tersor cannot do."""


class DataError(TersorError):
    """The samples cannot be used."""

    exit_code = 4


class RecipeError(TersorError):
    """The recipe, or an option that makes one, is wrong."""

    exit_code = 2


class PlanError(TersorError):
    """The model cannot be quantized as asked."""

    exit_code = 5


class VerificationError(TersorError):
    """The result does not do what it should."""

    exit_code = 6


class RuntimeFailure(TersorError):
    """The native runtime refused the model, crashed or ran out of time."""

    exit_code = 7


class NeedsTensorFlow(RuntimeFailure):
    """The model holds TensorFlow's own operators, which this runtime lacks."""


class CompilerFailure(RuntimeFailure):
    """A target's compiler failed, crashed, ran out of time, or wrote something else than a compiled model.

    Attributes:
        output: what it printed; None if it was not run.
    """

    def __init__(self, message: str, output: str | None = None) -> None:
        super().__init__(message)
        self.output = output


class CompilerMissing(CompilerFailure):
    """There is no compiler for the target on this machine.

    Attributes:
        command: what to run where there is one.
    """

    def __init__(self, message: str, *, command: str = "") -> None:
        super().__init__(message)
        self.command = command


class OutputError(TersorError):
    """The result could not be written."""

    exit_code = 8


class TersorWarning(UserWarning):
    """Something a user should know about a result that is otherwise usable."""
