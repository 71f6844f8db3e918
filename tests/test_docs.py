"""The documentation: every code block runs, what it shows is printed, every link leads somewhere.

With TERSOR_WRITE_DOCS=1 the output of commands is written into the pages instead of being compared with them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from docs_blocks import Block, Command, blocks
from docs_files import ROOT, make_files
from docs_output import is_shown
from tersor.recipe import Recipe, Rule, Scheme, load_recipe
from tersor.registry import names

DOCS = ROOT / "docs"
_RUN = ("console", "sh", "python")
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("demo/*.md"), *ROOT.glob("examples/*.md")])
RUN = [page for page in PAGES if any(block.language in _RUN for block in blocks(page))]

_WRITE = "TERSOR_WRITE_DOCS" in os.environ
_TIME_LIMIT = 900

_SEARCH = "tersor optimize fashion_mnist.keras --data fashion_mnist.npz --rescale 1/255 -o out"
"""What several pages begin with, and the slowest of all commands: it is done once, and goes on from there in each."""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of commands: `tersor` and `python` are this Python's, and measurements are kept by nobody."""
    programs = tmp_path_factory.mktemp("programs")
    scripts = {"tersor": '-c "from tersor.cli.main import main; main()"', "python": ""}
    for name, arguments in scripts.items():
        path = programs / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', "utf-8")
        path.chmod(0o755)
    return os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "TERSOR_CACHE": str(tmp_path_factory.mktemp("cache")),
        "PYTHONUNBUFFERED": "1",  # so that stdout and stderr come in the order in which a terminal shows them
        "PYTHONPATH": str(ROOT / "src"),
        "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "jax" if importlib.util.find_spec("jax") else "tensorflow"),
    }


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, prepared: dict[str, str]) -> Path:
    """The folder that `_SEARCH` writes, by whichever of the processes that run the tests comes first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "searched"
    done = folder / "done"
    try:
        folder.mkdir()
    except FileExistsError:
        end = time.monotonic() + _TIME_LIMIT
        while not done.exists() and time.monotonic() < end:
            time.sleep(0.2)
    else:
        try:
            make_files(folder, whole=False)
            run(["bash", "-c", _SEARCH], folder, prepared)
        finally:
            done.touch()
    return folder / "out"


def run(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, list[str]]:
    """The exit code and all lines of output."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=_TIME_LIMIT,
        check=False,
    )
    return done.returncode, [line.rstrip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("page", RUN, ids=named)
def test_blocks_run(
    page: Path,
    tmp_path: Path,
    prepared: dict[str, str],
    request: pytest.FixtureRequest,
    subtests: pytest.Subtests,
) -> None:
    text = page.read_text("utf-8")
    make_files(tmp_path, whole="<!-- all test images -->" in text)
    if _SEARCH in text:
        shutil.copytree(request.getfixturevalue("searched"), tmp_path / "out")
    printed: dict[Command, list[str]] = {}
    for block in blocks(page):
        if "not run" in block.marks or (block.language not in _RUN and "file" not in block.marks):
            continue
        with subtests.test(msg=f"{page.name}:{block.line}"):
            for need in filter(None, block.marks.get("needs", "").split(", ")):
                if importlib.util.find_spec(need) is None and shutil.which(need) is None:
                    pytest.skip(f"{need} is not on this machine")
            if "file" in block.marks:
                (tmp_path / block.marks["file"]).write_text(block.text, "utf-8")
            elif block.language == "python":
                program = tmp_path / "block.py"
                program.write_text(block.text, "utf-8")
                strict = [] if "needs" in block.marks else ["-W", "error"]
                code, lines = run([sys.executable, *strict, str(program)], tmp_path, prepared)
                assert code == 0, "\n".join(lines)
            else:
                run_commands(page, block, tmp_path, prepared, printed)
    if _WRITE:
        write(page, printed)


def run_commands(
    page: Path, block: Block, folder: Path, environment: dict[str, str], printed: dict[Command, list[str]]
) -> None:
    """Run the commands of a block and compare what they print; with _WRITE, put it into `printed`."""
    commands = block.commands()
    assert commands, "no command: they begin with '$ '"
    for command in commands:
        code, lines = run(["bash", "-c", command.text], folder, environment)
        expected = int(block.marks.get("exit code", 0)) if command is commands[-1] else 0
        told = "\n".join(
            [f"{page.name}:{command.line}: {command.text}", f"exit code {code}, expected {expected}", *lines]
        )
        assert code == expected, told
        varies = "output varies" in block.marks
        for name in re.findall(
            r"(?<![\w./-])[\w./-]+\.(?:tflite|html|json|toml|md|csv|zip|c|h)\b", "\n".join(command.shown)
        ):
            assert any(folder.rglob(Path(name).name)), f"{name} is shown and not written\n{told}"
        if varies or not command.shown:
            continue
        assert "(output)" not in command.shown or _WRITE, "run: make docs"
        if _WRITE and "..." not in "".join(command.shown):
            printed[command] = lines
        else:
            assert is_shown(command.shown, lines), f"{told}\nshown:\n" + "\n".join(command.shown)


def write(page: Path, printed: dict[Command, list[str]]) -> None:
    """Put what commands printed into their page."""
    lines = page.read_text("utf-8").splitlines()
    for command in sorted(printed, key=lambda command: -command.line):
        begin = command.shown_at - 1
        if not is_shown(command.shown, printed[command]):
            lines[begin : begin + len(command.shown)] = printed[command]
    page.write_text("\n".join(lines) + "\n", "utf-8")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_are_of_known_languages(page: Path) -> None:
    known = {"console", "sh", "python", "text", "json", "toml", "c", "cpp", "mermaid"}
    assert {block.language for block in blocks(page)} <= known


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_nothing_is_indented_out_of_sight(page: Path) -> None:
    """A block that is indented instead of fenced would not be run."""
    outside = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"^\n {4}(?:\$|tersor|python|pip|make|import|from) .*$", outside, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{target} is not there"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{target}: no heading of that name"


def anchors(page: Path) -> set[str]:
    """What headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    ids = set(re.findall(r'<a id="([\w-]+)">', page.read_text("utf-8")))
    return set(plain) | ids


def test_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)\s]+)\)", index)}
    assert {page for page in PAGES if DOCS in page.parents and page.parent != DOCS / "adr"} - linked == {
        DOCS / "README.md"
    }


@pytest.mark.parametrize("rib", ["algorithms", "observers"])
def test_tables_by_hand_have_every_plugin(rib: str) -> None:
    table = (DOCS / "reference" / f"{rib}.md").read_text("utf-8").partition("## Each in full")[0]
    assert [name for name in names(rib) if f"\n| `{name}`" not in table] == []


def test_keys_of_recipes_are_documented() -> None:
    page = (DOCS / "reference" / "recipes.md").read_text("utf-8")
    keys = {item.name for kind in (Recipe, Scheme, Rule) for item in fields(kind)} - {"name", "scheme"}
    assert {key for key in keys if not re.search(rf"^(\[\[)?{key}\b", page, re.MULTILINE)} == set()


def test_generated_parts_are_what_the_program_says() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_recipes_of_pages_are_recipes(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "toml" and "[pruning]" not in block.text:  # those: tests/test_train_command.py
            path = tmp_path / "recipe.toml"
            path.write_text(block.text, "utf-8")
            load_recipe(str(path))
