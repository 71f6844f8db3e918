"""The shape of the code: who may import whom, and that everything says what it is."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tersor import registry
from tersor.errors import TersorError

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tersor"
MODULES = sorted(SOURCE.rglob("*.py"))
RIBS = ("data", "formats", "observers", "passes", "runtimes")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_import_contracts_are_kept() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_and_its_public_definitions_have_docstrings(path: Path) -> None:
    module = parsed(path)
    assert ast.get_docstring(module)
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_no_module_is_a_drawer() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "util", "helpers", "common", "misc", "manager", "tools"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_is_raised_on_purpose_has_an_exit_code(path: Path) -> None:
    """Errors are tersor's own, or ones that a caller within tersor turns into them; never bare ones."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            assert node.exc.func.id not in {"Exception", "RuntimeError", "SystemExit", "BaseException"}


def test_frameworks_are_imported_in_one_package_each() -> None:
    homes = {"ai_edge_litert": {"formats", "runtimes"}, "flatbuffers": {"formats"}, "PIL": {"data"}, "typer": {"cli"}}
    homes |= {"tflite_micro": {"runtimes"}, "tensorflow": {"formats", "runtimes"}, "keras": {"formats", "training"}}
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                top = name.partition(".")[0]
                assert path.relative_to(SOURCE).parts[0] in homes.get(top, {path.relative_to(SOURCE).parts[0]}), path


@pytest.mark.parametrize("rib", ["observers", "data"])
def test_file_names_are_plugin_names(rib: str) -> None:
    for name in registry.names(rib):
        assert registry.plugin(rib, name).__doc__


def subclasses(kind: type[TersorError]) -> list[type[TersorError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in subclasses(child))]


def test_exit_codes_tell_the_branches_of_the_tree_apart() -> None:
    direct = {kind.exit_code for kind in TersorError.__subclasses__()}
    assert len(direct) == len(TersorError.__subclasses__())
    assert not direct & {0, 1, 126, 127, 130}
    text = SOURCE.joinpath("errors.py").read_text()
    assert all(f"-- {kind.__name__}" in text for kind in subclasses(TersorError)[1:])
