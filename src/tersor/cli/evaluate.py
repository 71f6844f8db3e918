"""`tersor evaluate`: a model's score on labelled data."""

from __future__ import annotations

from typing import Annotated

import typer

from tersor.cli import groups, options


def command(
    model: options.ModelPath,
    data: Annotated[str, typer.Option("--data", "-d", metavar="DATA", help=options.DATA_HELP, show_default=False)],
    metric: Annotated[str, typer.Option(metavar=options.METRICS, help=options.METRIC_HELP)] = "top1",
    kernels: options.AnyKernels = "xnnpack",
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    normalization: groups.Normalization,
    delegating: groups.Delegating,
) -> None:
    """Measure a .tflite of any flavour, or another model, on labelled data, with a 95 % confidence interval."""
    from tersor.cli import console
    from tersor.report.outcome import score_to_dict
    from tersor.stages.evaluate import doubt, evaluate
    from tersor.stages.load import admit_tensorflow_ops, runnable

    loaded = opening.load(model)
    dataset = normalization.load(data, loaded)
    total = None if dataset.size is None else len(dataset)
    with runnable(loaded) as path, delegating.engine() as engine, console.progress() as report:
        admit_tensorflow_ops(loaded, engine)
        score = evaluate(
            path,
            dataset,
            metric,
            kernels,
            engine=engine,
            progress=lambda done: report("evaluating", done, total),
        )
    delegating.say(engine, [model])
    remark = doubt(score)
    if remark is not None:
        console.warn(remark)
    if as_json:
        console.print_json(score_to_dict(score))
        return
    low, high = score.interval
    if score.is_share:
        text = f"{100 * score.value:.2f} % (95 %: {100 * low:.2f}..{100 * high:.2f})"
    else:
        text = f"{score.value:.6g} (95 %: {low:.6g}..{high:.6g})"
    through = "" if engine.delegate is None else f", delegate {engine.delegate.name}"
    console.out.print(f"{score.metric} {text} on {score.samples} samples, {kernels} kernels{through}", markup=False)
