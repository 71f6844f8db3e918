"""`tersor run`: what a model answers to given inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import groups, options


def command(
    model: options.ModelPath,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Images, .wav, .npy or .npz files.")],
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Samples to run at once; by default as many as the file states.", show_default=False),
    ] = None,
    kernels: options.AnyKernels = "xnnpack",
    top: Annotated[int, typer.Option(min=1, help="Entries of each output to print, the largest first.")] = 5,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the outputs to a .npz file.", show_default=False)
    ] = None,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    normalization: groups.Normalization,
    delegating: groups.Delegating,
) -> None:
    """Run a .tflite of any flavour, or another model, with any batch size, on the CPU or through a delegate."""
    import numpy as np

    from tersor.cli import console
    from tersor.stages.annotate import labels_of
    from tersor.stages.load import admit_tensorflow_ops, runnable
    from tersor.stages.load_data import load_inputs
    from tersor.stages.load_data import normalization as done_to_samples
    from tersor.stages.run import run
    from tersor.stages.save import atomic

    loaded = opening.load(model)
    preprocess, notes = done_to_samples(normalization.preprocess, loaded)
    samples = load_inputs(inputs, loaded, preprocess, features=normalization.features or "")
    console.say(notes)
    labels = labels_of(loaded)
    with runnable(loaded) as path, delegating.engine() as engine:
        admit_tensorflow_ops(loaded, engine)
        results = list(run(path, samples, kernels=kernels, batch=batch, engine=engine))
    delegating.say(engine, [model])
    if output is not None:
        stacked = {name: np.concatenate([np.atleast_1d(result[name]) for result in results]) for name in results[0]}
        with atomic(output) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **stacked)
    if as_json:
        console.print_json([{name: values.tolist() for name, values in result.items()} for result in results])
        return
    for number, result in enumerate(results):
        for name, values in result.items():
            flat = values.ravel()
            best = flat.argsort()[::-1][:top]
            known = labels.get(name, ())
            names = known if values.shape and len(known) == values.shape[-1] else ()
            shown = ", ".join(_entry(place, flat[place].item(), names) for place in best)
            more = " ..." if flat.size > top else ""
            console.out.print(f"{number} {name} {list(values.shape)}: {shown}{more}", markup=False)


def _entry(place: int, value: object, labels: Sequence[str]) -> str:
    label = f" {labels[place % len(labels)]}" if labels else ""
    return f"[{place}]{label} {_number(value)}"


def _number(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
