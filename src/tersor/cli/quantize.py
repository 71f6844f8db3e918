"""`tersor quantize`: a float model in, quantized files and what they cost out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tersor.cli import groups, options

if TYPE_CHECKING:
    from tersor.data.dataset import Dataset
    from tersor.ir.graph import Model
    from tersor.runtimes.engine import Engine
    from tersor.stages.outcome import Outcome
    from tersor.stages.repair import Repair

_MISSED = 9
"""Exit code where the goal of `--max-drop` is missed; what comes nearest is written."""


def command(
    model: options.ModelPath,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="DATA", help=options.DATA_HELP, show_default=False)
    ] = None,
    flavours: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            metavar="FLAVOUR",
            help="float16, dynamic, weight_only, int8_float_io, int8, uint8, int16x8, int8_w4, float32, 'all', or a "
            "recipe.toml. May be repeated, or separated by commas. Default: int8.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="cpu|edge_tpu|ethos_u|micro",
            help="What it is to run on: what that does not take is rewritten, and each rewrite named with its cost.",
            show_default=False,
        ),
    ] = None,
    split: options.Split = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write, or a folder for several flavours.", show_default=False),
    ] = None,
    eval_data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Other samples to measure on.", show_default=False)
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Samples that the written file takes at once, where the model leaves that open."
        ),
    ] = 1,
    samples: Annotated[int, typer.Option(min=1, help="Samples to calibrate on; the others are measured on.")] = 100,
    eval_samples: Annotated[int, typer.Option(min=1, help="Samples to measure on, at most.")] = 1000,
    metric: options.Metric = None,
    observer: Annotated[
        str | None,
        typer.Option(
            metavar="min_max|percentile|mse|auto|entropy|moving_average",
            help="How ranges of activations are chosen.",
            show_default=False,
        ),
    ] = None,
    per_tensor: Annotated[bool, typer.Option("--per-tensor", help="One scale per weight tensor.")] = False,
    io: Annotated[
        str | None,
        typer.Option(
            "--io", metavar="float32|int8|uint8|int16", help="Type of inputs and outputs.", show_default=False
        ),
    ] = None,
    allow_float: Annotated[
        bool, typer.Option("--allow-float", help="Leave operators without an integer kernel in float.")
    ] = False,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(metavar="OP|REGEX", help="Leave these operators (a kind, or result names) in float."),
    ] = None,
    algorithms: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...|none",
            help="What is done about rounding, in this order, instead of what the flavour does: zero_dead_channels, "
            "cross_layer_equalization, activation_equalization, outlier_splitting, staggered_copies, "
            "least_squares_refit, fit_scales, gptq, coordinate_descent, bias_correction, activation_correction; "
            "without data: analytic_bias_correction.",
            show_default=False,
        ),
    ] = None,
    labels: options.Labels = None,
    metadata: Annotated[
        bool, typer.Option("--metadata/--no-metadata", help="Write the normalization into the result.")
    ] = True,
    latency: Annotated[bool, typer.Option("--latency", help="Time the results on this machine.")] = False,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Write the report of 'tersor debug' beside each integer file.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the plan: every tensor, and why.")] = False,
    as_json: options.Json = False,
    *,
    repairing: groups.Repairing,
    opening: groups.Opening,
    normalization: groups.Normalization,
) -> None:
    """Quantize a float model, verify the result on real kernels, and say what it cost."""
    from tersor.runtimes.engine import Engine

    with Engine() as engine:  # first of all, so that the child starts while this process imports and reads
        from tersor.cli import console
        from tersor.recipe import adjusted, load_recipe, presets
        from tersor.report.door import door_notes, reader_notes
        from tersor.report.outcome import outcome_to_dict
        from tersor.report.table import footnotes, outcome_table
        from tersor.stages.annotate import declared
        from tersor.stages.outcome import Options, warnings
        from tersor.stages.produce import produce
        from tersor.stages.trained import training_of

        if repairing.max_drop is not None:  # what follows from it is imported, and used, only then
            from tersor.report.repair import repair_notes, repair_table, repair_to_dict, verdict
            from tersor.stages.repair import parse_drop, repair_each, together
        repairing.require_sense()
        device = None
        if target is not None:
            from tersor.stages.search.targets import target_of

            device = target_of(target)
        loaded = normalization.annotate(opening.load(model), labels, write=metadata)
        training = training_of(loaded)
        names = [part for item in flavours or ["int8"] for part in item.split(",") if part]
        if names == ["all"]:
            names = presets() if device is None else [*device.flavours]
        bases = [load_recipe(name) for name in names] if training is None or flavours else [training.recipe]
        recipes = [
            adjusted(
                base,
                observer=observer,
                per_tensor=per_tensor,
                interface=io,
                allow_float=allow_float,
                keep_float=keep_float or (),
                algorithms=options.listed(algorithms),
                finetune=repairing.finetune and repairing.max_drop is None,
            )
            for base in bases
        ]
        if training is not None:
            recipes = [training.fitted(recipe) for recipe in recipes]
        if device is not None:
            recipes = [device.fitted(recipe) for recipe in recipes]
        if split:
            from tersor.stages.split import to_be_split

            recipes = [to_be_split(recipe, target) for recipe in recipes]
        is_fitted = any(recipe.target for recipe in recipes)
        if is_fitted:
            from tersor.report.fitting import fitting_notes, fitting_to_dict
            from tersor.report.split import outcome_split_notes, split_to_dict
        tuner = repairing.tuner(recipes)
        batched = (
            normalization.annotate(opening.load(model, batch_size), labels, write=metadata) if batch_size > 1 else None
        )
        dataset = None if data is None else normalization.load(data, loaded)
        evaluation = None if eval_data is None else normalization.load(eval_data, loaded, quiet=True)
        outputs = {recipe: output_path(model, output, recipe.name, several=len(recipes) > 1) for recipe in recipes}
        measured = Options(samples, eval_samples, metric, latency, tuner)
        repairs: tuple[Repair, ...] = ()
        with console.progress() as report:
            if repairing.max_drop is None:
                outcome = produce(loaded, outputs, dataset, evaluation, measured, report, engine, batched)
            else:
                repairs = repair_each(
                    loaded,
                    outputs,
                    dataset,
                    evaluation,
                    max_drop=parse_drop(repairing.max_drop),
                    islands=repairing.islands,
                    options=measured,
                    minutes=repairing.max_minutes,
                    progress=report,
                    engine=engine,
                    batched=batched,
                )
                outcome = together(repairs)
            reports = _diagnosed(batched or loaded, outcome, dataset, engine) if diagnose else []
    missed = any(not item.reached for item in repairs)
    if as_json:
        found: dict[str, Any] = {"repairs": [repair_to_dict(item) for item in repairs]} if repairs else {}
        found |= {"fitting": fitting_to_dict(outcome)} if is_fitted else {}
        parts = {item.recipe: split_to_dict(item.split) for item in outcome.products if item.split is not None}
        found |= {"split": parts} if parts else {}
        console.print_json(outcome_to_dict(outcome) | found)
        raise typer.Exit(_MISSED if missed else 0)
    if explain:
        for product in outcome.products:
            if product.plan is not None:
                console.out.print(product.plan.explain(), markup=False)
    for item in repairs:
        console.out.print(repair_table(item))
    console.out.print(outcome_table(outcome))
    done_to_samples = normalization.preprocess or declared(loaded)
    doors = door_notes(outcome, loaded.graph.inputs, done_to_samples)
    if labels is not None:  # for programs that read them
        doors += reader_notes(outcome, loaded.graph.inputs)
    notes = footnotes(outcome, lossy_without_data=dataset is None and any(recipe.algorithms for recipe in recipes))
    if training is not None:
        notes += (f"ranges are those that training for {training.recipe.name} left",)
    fittings = [*fitting_notes(outcome), *outcome_split_notes(outcome)] if is_fitted else []
    console.say((*fittings, *doors, *notes, *(f"wrote {path}" for path in reports)))
    for item in repairs:
        console.say(repair_notes(item))
    console.say(
        (), (*warnings(outcome), *(f"{item.asked.name}: {verdict(item)}" for item in repairs if not item.reached))
    )
    raise typer.Exit(_MISSED if missed else 0)


def output_path(model: Path, output: Path | None, flavour: str, *, several: bool) -> Path:
    """Where a flavour is written: the file that was asked for, or `model.flavour.tflite` in the folder asked for."""
    if output is not None and not several and output.suffix and not output.is_dir():
        return output
    if model.is_dir():
        model = model.resolve()  # "." has no name
    name = model.name if model.is_dir() else model.stem
    return (output or model.parent) / f"{name}.{flavour}.tflite"


def _diagnosed(model: Model, outcome: Outcome, data: Dataset | None, engine: Engine) -> list[Path]:
    """Write what `tersor debug` says beside each file that computes in integers; the files that were written."""
    from tersor.ir.plan import INTEGER
    from tersor.report.diagnosis import write_diagnosis
    from tersor.stages.debug import SAMPLES, debug
    from tersor.stages.load import load

    written: list[Path] = []
    for product in outcome.products:
        is_integer = product.plan is not None and any(op.compute == INTEGER for op in product.plan.ops.values())
        if is_integer and product.path is not None and data is not None:
            chosen = data.split(SAMPLES)[0]
            written += write_diagnosis(debug(model, load(product.path), chosen, engine=engine), product.path)
    return written
