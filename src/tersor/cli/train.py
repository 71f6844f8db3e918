"""`tersor train`: a float model and labelled data in, a network that is used to its integers out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tersor.cli import groups, options
from tersor.errors import RecipeError

if TYPE_CHECKING:
    from tersor.training.checkpoint import Figures
    from tersor.training.task import Task

_DATA = "Data"
_TRAINING = "Training"


def command(
    model: options.ModelPath,
    data: Annotated[str, typer.Option("--data", "-d", metavar="DATA", help=options.DATA_HELP, show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.keras", help="The network to write.", show_default=False)
    ],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            "-r",
            metavar="FLAVOUR",
            help="What to train for: int8, int16x8, int8_w4, int8_float_io, uint8, or a recipe.toml; with a table "
            "[pruning] in it, zeros.",
        ),
    ] = "int8",
    tflite: Annotated[
        Path | None,
        typer.Option(metavar="OUT.tflite", help="Write the file of it, too, verified.", show_default=False),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.", rich_help_panel=_TRAINING)] = 10,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Of Adam; it falls to 0 as a cosine. Default: 1e-4, and 1e-3 for 4-bit weights and pruning.",
            rich_help_panel=_TRAINING,
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of a step.", rich_help_panel=_TRAINING)] = 32,
    freeze: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="The last share of the steps, in which batch normalization uses its moving statistics, as the file.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0.33,
    learned: Annotated[
        bool,
        typer.Option("--learned", help="Learn ranges by their gradients (LSQ).", rich_help_panel=_TRAINING),
    ] = False,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1, help="End after so many epochs without a better one.", rich_help_panel=_TRAINING, show_default=False
        ),
    ] = None,
    mixed_precision: Annotated[
        bool,
        typer.Option("--mixed-precision", help="Multiply in bfloat16; round in float32.", rich_help_panel=_TRAINING),
    ] = False,
    data_parallel: Annotated[
        bool,
        typer.Option(
            "--data-parallel", help="Let all devices of this machine share each batch (JAX).", rich_help_panel=_TRAINING
        ),
    ] = False,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="cross_entropy|binary_cross_entropy|mse|mae",
            help="Default: what suits the output.",
            rich_help_panel=_TRAINING,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of samples held back, their order, and changes.", rich_help_panel=_TRAINING)
    ] = 0,
    validate: Annotated[
        str,
        typer.Option(
            metavar="SHARE|DATA",
            help="What each epoch is judged by: a share of the data, or other data.",
            rich_help_panel=_DATA,
        ),
    ] = "0.1",
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="A,B=0.1,...|none",
            help="Change raw samples, other ones in every epoch: flip, shift, brightness, contrast; time_shift, noise. "
            "Default: shift for images, none for others.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="top1|top5|mse|auc",
            help="What epochs are judged by. Default: what suits the loss.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a training was stopped or killed.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output, and begin anew.")] = False,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Between checkpoints within an epoch; there is one at the end of each.")
    ] = 10.0,
    labels: options.Labels = None,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    normalization: groups.Normalization,
) -> None:
    """Train a float model for what integers will do to it, and say what that was good for. Needs tersor[train]."""
    from tersor.runtimes.engine import Engine

    with Engine() as engine:  # first of all, so that the child starts while this process imports
        if learning_rate is not None and not learning_rate > 0:
            raise RecipeError(f"--learning-rate {learning_rate:g}: it is above 0")
        from tersor.cli import console

        try:
            with console.hushed():  # backends greet
                from tersor.training.course import Settings
                from tersor.training.train import Listener, Where, train
        except ImportError as error:
            raise RecipeError(str(error)) from error
        from tersor.report.training import epoch_line, training_notes, training_table, training_to_dict
        from tersor.training.augment import parse_augmentation
        from tersor.training.material import load_material

        loaded = normalization.annotate(opening.load(model), labels)
        material = load_material(
            data,
            loaded,
            validate,
            preprocess=normalization.preprocess,
            augmentation=None if augment is None else parse_augmentation(augment),
            seed=seed,
            skip_bad=normalization.skip_bad,
            features=normalization.features or "",
        )
        console.say(material.notes)
        settings = Settings(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            freeze=freeze,
            patience=patience,
            seed=seed,
            mixed_precision=mixed_precision,
            learned=learned,
            data_parallel=data_parallel,
            checkpoint_minutes=checkpoint_minutes,
        )
        is_shown = console.err.is_terminal

        def announce(figures: Figures, task: Task, is_best: bool) -> None:
            if is_shown:
                console.note(epoch_line(figures, task, epochs, is_best))

        with console.progress() as report:
            trained = train(
                loaded,
                recipe,
                material,
                Where(output, tflite, resume, overwrite),
                settings,
                loss=loss,
                metric=metric,
                listener=Listener(report, console.note, announce),
                engine=engine,
            )
    if as_json:
        console.print_json(training_to_dict(trained))
    else:
        console.out.print(training_table(trained))
        console.say(*training_notes(trained))
    if trained.stopped is not None:
        sys.exit(128 + trained.stopped)  # as shells have it
