"""Model -> a file that a target's compiler makes of it, checked against what was forecast.

The compiler is somebody else's program: it runs in a folder and a session of its own, and what it writes gets its name
only after it was read back.
"""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from tersor import registry
from tersor.errors import CompilerFailure, CompilerMissing, ModelError, OutputError, RecipeError, UnsupportedError
from tersor.formats import tflite
from tersor.ir.graph import Graph, Model
from tersor.ir.placement import Resource
from tersor.stages.compilation import Compilation, pieces, was_mapped
from tersor.stages.load import load, runs_as_it_is
from tersor.stages.place import is_float, place
from tersor.stages.plan.refusals import COMPILERS
from tersor.stages.save import atomic, require_writable
from tersor.targets._compiler import Compiled


def load_finished(path: Path, target: str = "edge_tpu") -> Model:
    """Read a model that is to be compiled. Raises UnsupportedError for a file that is never quantized; see `load`."""
    flavour = _target(target).FLAVOUR
    if path.exists() and not runs_as_it_is(path) and flavour is not None:
        raise UnsupportedError(_is_float(path, flavour, target))
    return load(path)


def compile_for(
    model: Model,
    target: str = "edge_tpu",
    output: str | Path | None = None,
    *,
    compiler: str | None = None,
    time_limit: float | None = None,
    **options: object,
) -> Compilation:
    """Run a target's compiler.

    Args:
        model: quantized as the target wants it.
        target: a plugin of the rib `targets` that can be compiled for.
        output: the compiled file; by default beside the model's, with what the target adds to names. What the compiler
            printed is written beside it: `.log`, or `.failed.log` if it failed.
        compiler: the program; by default the one on the PATH.
        time_limit: seconds that it may take; by default what the target thinks right.
        options: the target's own: `multiple_subgraphs` and `min_runtime_version` of `edge_tpu`,
            `accelerator` of `ethos_u`.

    Raises RecipeError for unknown targets and options, UnsupportedError for float and compiled models, CompilerMissing,
    CompilerFailure if it fails or writes something else than the compiled model, OutputError.
    """
    module = _target(target)
    _check_options(module, options, time_limit)
    _refuse_unfinished(model, module)
    path = _output_path(model, module.SUFFIX, output)
    asked = {name: value for name, value in options.items() if name in module.OPTIONS}
    forecast = None if hasattr(module, "explain") else place(model, target, **asked)
    require_writable(path)
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        source = _put(model, Path(folder))
        try:
            made: Compiled = module.compile(source, Path(folder), program=compiler, time_limit=time_limit, **options)
            compiled, resources = _read_back(made, model, target)
            found = module.explain(model, made) if forecast is None else forecast
        except CompilerMissing:
            raise
        except CompilerFailure as error:
            kept = "" if error.output is None else f"; {_keep(error.output, path)}"
            raise CompilerFailure(f"{error}{kept}", error.output) from error
        with atomic(path.with_suffix(".log")) as log, atomic(path) as beside:
            log.write_text(made.log, "utf-8")
            shutil.copyfile(made.path, beside)
    path.with_suffix(_FAILED).unlink(missing_ok=True)
    mapped = was_mapped(model.graph, compiled.graph, target)
    parts = pieces(compiled.graph, target)
    log = path.with_suffix(".log")
    if forecast is None:
        return Compilation(path, log, made, found, mapped, parts, found.resources or resources, was_forecast=False)
    return Compilation(path, log, made, forecast, mapped, parts, resources)


_FAILED = ".failed.log"


def _target(name: str) -> ModuleType:
    module = registry.plugin("targets", name)
    if not hasattr(module, "compile"):
        able = [other for other in registry.names("targets") if hasattr(registry.plugin("targets", other), "compile")]
        raise RecipeError(f"nothing is compiled for target {name}; targets with a compiler: {', '.join(able)}")
    return module


def _check_options(module: ModuleType, options: Mapping[str, object], time_limit: float | None) -> None:
    if time_limit is not None and not 0 < time_limit < float("inf"):
        raise RecipeError(f"a compiler cannot be given {time_limit:g} s: give a time above 0")
    parameters = inspect.signature(module.compile).parameters.values()
    known = {item.name for item in parameters if item.kind is item.KEYWORD_ONLY} - {"program", "time_limit"}
    for name in sorted(options.keys() - known):
        raise RecipeError(f"compiling for {module.NAME} has no option {name}; its options: {', '.join(sorted(known))}")


def _refuse_unfinished(model: Model, module: ModuleType) -> None:
    where = model.source or "the model"
    done = next((COMPILERS[op.custom_code] for op in model.graph.ops if op.custom_code in COMPILERS), None)
    if done is not None:
        raise UnsupportedError(
            f"{where}: already compiled for {done.device}; give the model that went into the compiler"
        )
    if module.FLAVOUR is not None and is_float(model):
        raise UnsupportedError(_is_float(Path(where), module.FLAVOUR, module.NAME))


def _is_float(path: Path, flavour: str, target: str) -> str:
    finished = path.with_name(f"{path.stem}.{flavour}.tflite")
    option = "" if target == "edge_tpu" else f" --target {target}"
    return (
        f"{path}: its activations are float, and the compiler takes 8-bit integers: first tersor quantize {path} "
        f"--as {flavour} --data DATA, then tersor compile {finished}{option}"
    )


def _output_path(model: Model, suffix: str, output: str | Path | None) -> Path:
    """Where the compiled file goes. Raises RecipeError for a name of no model, OutputError for the model's own."""
    source = Path(model.source or "model.tflite")
    path = source.parent if output is None else Path(output)
    if path.is_dir() or not path.suffix:
        path = path / f"{source.stem}{suffix}.tflite"
    if path.suffix != ".tflite":
        raise RecipeError(f"output {path}: a compiled model's name ends in .tflite")
    if path.exists() and source.exists() and path.samefile(source):
        raise OutputError(f"{path}: is the model itself; give its compiled form another name")
    return path


def _put(model: Model, folder: Path) -> Path:
    """The model's file in the folder where the compiler runs, under a name that no program takes for an option."""
    source = Path(model.source)
    path = folder / f"{source.stem.lstrip('-') or 'model'}.tflite"
    if model.source and runs_as_it_is(source):
        shutil.copyfile(source, path)
    else:
        tflite.write(model, path)
    return path


def _read_back(made: Compiled, model: Model, target: str) -> tuple[Model, tuple[Resource, ...]]:
    """The compiled model, and what it takes of the device. Raises CompilerFailure if it is not what it should be."""
    name = Path(made.command[0]).name
    try:
        compiled = tflite.read(made.path)
        resources = place(compiled, target).resources if pieces(compiled.graph, target) else ()
    except (ModelError, OSError) as error:
        told = str(error).removeprefix(f"{made.path}: ")
        raise CompilerFailure(f"{name} wrote a file that cannot be read back: {told}", made.log) from error
    for what in ("inputs", "outputs"):
        before, after = _door(model.graph, what), _door(compiled.graph, what)
        if before != after:
            told = f"{name} wrote a file with other {what} than the model: {', '.join(after)}, not {', '.join(before)}"
            raise CompilerFailure(told, made.log)
    return compiled, resources


def _door(graph: Graph, what: str) -> list[str]:
    names: tuple[str, ...] = getattr(graph, what)
    tensors = [graph.tensors[name] for name in names]
    return [f"{tensor.name} {tensor.dtype.name.lower()}{list(tensor.shape)}" for tensor in tensors]


def _keep(output: str, path: Path) -> str:
    """Write what a compiler printed that failed, beside what it should have written; says where it lies."""
    if not output.strip():
        return "it printed nothing"
    failed = path.with_suffix(_FAILED)
    with atomic(failed) as beside:
        beside.write_text(output, "utf-8")
    return f"what it printed is in {failed}"
