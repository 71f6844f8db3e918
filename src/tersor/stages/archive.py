"""A model file and what is known of it -> one archive."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path

from tersor.errors import OutputError, RecipeError
from tersor.formats import archive
from tersor.stages.annotate import labels_of
from tersor.stages.export import Exported, parameters_of, read_finished
from tersor.stages.save import atomic
from tersor.stages.search.output_folder import PICK, RECIPE

MODEL, PARAMETERS, LABELS = "model.tflite", "parameters.json", "labels.txt"
"""What the parts are called in the archive; reports keep the end of their names."""

_OF_THE_MODEL = ("recipe.toml", "debug.json", "debug.csv", "report.html", "report.md", "report.json")
"""Endings of files that lie beside a model and begin as its name does; the recipe and reports of a whole folder, as
`tersor optimize` writes them, begin with nothing."""


def export_archive(path: Path, output: Path, attached: tuple[Path, ...] = ()) -> Exported:
    """Write one zip of a model, its parameters and labels, and the recipe and reports that lie beside it.

    Equal content gives equal bytes.

    Args:
        path: a `.tflite` file.
        output: the archive.
        attached: further files; they keep their names.

    Raises FormatError, OutputError; RecipeError for a file that cannot be read, or whose name is taken.
    """
    model = read_finished(path)
    if output.resolve() == path.resolve():
        raise OutputError(f"{output}: the archive would replace the model; give another --output")
    contents = {
        MODEL: path.read_bytes(),
        PARAMETERS: (json.dumps(parameters_of(model), indent=2, sort_keys=True) + "\n").encode(),
    }
    labels = labels_of(model)
    for number, names in enumerate(labels.values(), start=1):
        text = "".join(f"{label}\n" for label in names)
        contents[LABELS if number == 1 else f"labels_{number}.txt"] = text.encode()
    beside = _beside(path)
    for file in (*beside, *attached):
        name = beside.get(file, file.name)
        if name in contents:
            raise RecipeError(f"{file}: the archive already has a {name}; give the file another name")
        try:
            contents[name] = file.read_bytes()
        except OSError as error:
            raise RecipeError(f"{file}: cannot be read: {error.strerror or error}") from error
    with atomic(output) as temporary:
        archive.write(temporary, contents)
    notes = [f"in it: {', '.join(sorted(contents))}"]
    if RECIPE not in contents and _is_of_another(path.with_name(RECIPE), path):
        notes.append(
            f"{path.with_name(RECIPE)} makes {PICK}, not this file: left out (report.json has the recipe of each)"
        )
    elif RECIPE not in contents:
        notes.append(f"no recipe lies beside the model ({path.stem}.recipe.toml): --attach adds files")
    return Exported((output,), None, tuple(notes))


def _beside(path: Path) -> dict[Path, str]:
    """The recipe and reports of a model, with their names in the archive."""
    found: dict[Path, str] = {}
    for ending in _OF_THE_MODEL:
        for file in (path.with_suffix(f".{ending}"), path.with_name(ending)):
            if file.is_file() and ending not in found.values() and not _is_of_another(file, path):
                found[file] = ending
    return found


def _is_of_another(file: Path, path: Path) -> bool:
    """Whether a file is the recipe of a folder whose pick is another model."""
    pick = path.with_name(PICK)
    return file == path.with_name(RECIPE) and pick.is_file() and not filecmp.cmp(pick, path, shallow=False)
