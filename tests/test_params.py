"""Parameters in a model: as values, by `tersor params`, and as MLTK's own reader sees them.

The test with MLTK needs an environment of its own (`silabs-mltk` wants an old NumPy), and `TERSOR_MLTK_PYTHON` set to
its Python; `make test-readers` does both.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Cli
from small_nets import classifier
from tersor.errors import FormatError, RecipeError
from tersor.formats import tflite
from tersor.formats.tflite.flatbuffer import encode
from tersor.formats.tflite.parameters import (
    _SCHEMA,
    NAME,
    TYPES,
    Parameter,
    parameter,
    read_parameters,
    with_parameters,
)
from tersor.ir.graph import Model, Record
from tersor.stages.parameters import parse_parameter

MLTK = os.environ.get("TERSOR_MLTK_PYTHON")

EXAMPLES: dict[str, object] = {
    "bool": True,
    "int8": -128,
    "uint8": 255,
    "int16": -129,
    "uint16": 256,
    "int32": -(2**31),
    "uint32": 2**32 - 1,
    "int64": -(2**63),
    "uint64": 2**64 - 1,
    "float": 0.5,
    "double": 1e300,
    "str": 'Größe, "x" and 模型',
    "str_list": ("yes", "", "no"),
    "int32_list": (1, -2, 3),
    "float_list": (0.5, -1.5),
    "bin": bytes(range(256)),
}


def again(model: Model) -> Model:
    return tflite.read_bytes(tflite.write_bytes(model))


def holding(**values: object) -> Model:
    return with_parameters(classifier(), {key: parameter(value) for key, value in values.items()})


def test_every_type_survives_a_file() -> None:
    given_ones = {kind: Parameter(kind, value) for kind, value in EXAMPLES.items()}  # type: ignore[arg-type]
    assert set(given_ones) == set(TYPES)
    assert read_parameters(again(with_parameters(classifier(), given_ones))) == given_ones


@pytest.mark.parametrize(("kind", "value"), EXAMPLES.items())
def test_a_value_gets_the_smallest_type_that_holds_it(kind: str, value: object) -> None:
    assert parameter(value) == Parameter(kind, value)  # type: ignore[arg-type]


def test_noughts_survive_though_a_flatbuffer_leaves_them_out() -> None:
    noughts = {"a": False, "b": 0, "c": 0.0, "d": "", "e": b"", "f": ()}
    found = read_parameters(again(holding(**noughts)))
    assert {key: item.value for key, item in found.items()} == noughts


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=6), st.integers(-(2**63), 2**64 - 1) | st.floats(width=32) | st.text(max_size=6))
)
def test_any_dictionary_survives(values: dict[str, object]) -> None:
    found = read_parameters(again(holding_all(values)))
    assert repr({key: item.value for key, item in found.items()}) == repr(values)


def holding_all(values: dict[str, object]) -> Model:
    return with_parameters(classifier(), {key: parameter(value) for key, value in values.items()})


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, None, {"a": 1}, "\ud800", ["\ud800"], [1, "a"], [[1]], [2**31], object()]
)
def test_what_is_no_parameter_is_refused(value: object) -> None:
    with pytest.raises(RecipeError, match="cannot be a parameter: these are bool, int of 64 bits"):
        parameter(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int8", 128), ("uint8", -1), ("bool", 1), ("float", 1), ("float", 1e39), ("str", b"a"), ("bin", "a")],
)
def test_a_value_of_another_type_is_refused(kind: str, value: object) -> None:
    with pytest.raises(RecipeError, match=f"is no value of type {kind}"):
        Parameter(kind, value)  # type: ignore[arg-type]


def test_other_metadata_stay_and_their_order_too() -> None:
    model = replace(classifier(), metadata=(("first", b"1"), (NAME, b""), ("last", b"2")))
    changed = with_parameters(model, {"a": parameter(1)})
    assert [name for name, _ in changed.metadata] == ["first", NAME, "last"]
    assert [name for name, _ in with_parameters(changed, {}).metadata] == ["first", "last"]


def test_damage_and_later_versions_are_named() -> None:
    (content,) = (data for name, data in holding(a=1).metadata if name == NAME)
    for damaged in (b"", content[:20], b"\xff" * 40):
        model = replace(classifier(), metadata=((NAME, damaged),), source="net.tflite")
        with pytest.raises(FormatError, match=r"net\.tflite: its model parameters \(SL_PARAMSv1\) is damaged"):
            read_parameters(model)
    later = encode(Record("Dictionary", (("schema_version", 2),)), _SCHEMA)
    with pytest.raises(FormatError, match="are of version 2; tersor reads version 1"):
        read_parameters(replace(classifier(), metadata=((NAME, later),)))
    empty = Record("Dictionary", (("schema_version", 1), ("entries", (Record("Entry", (("key", "k"),)),))))
    with pytest.raises(FormatError, match="'k' has no value of a known type"):
        read_parameters(replace(classifier(), metadata=((NAME, encode(empty, _SCHEMA)),)))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("true", "auto", True),
        ("12", "auto", 12),
        ("-1.5", "auto", -1.5),
        ("[1, 2]", "auto", (1, 2)),
        ("[1, 2.5]", "auto", (1.0, 2.5)),
        ('["a", "b"]', "auto", ("a", "b")),
        ("hello", "auto", "hello"),
        ("NaN", "auto", "NaN"),
        ('{"a": 1}', "auto", '{"a": 1}'),
        ("null", "auto", "null"),
        ("12", "str", "12"),
        ("12", "float", 12.0),
        ("[1, 2]", "float_list", (1.0, 2.0)),
        ("00ff", "bin", b"\x00\xff"),
    ],
)
def test_what_a_user_types(text: str, kind: str, value: object) -> None:
    assert parse_parameter(text, kind).value == value


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("hello", "int8", "'hello' is no value of type int8"),
        ("300", "uint8", "300 is no value of type uint8"),
        ("xyz", "bin", "is no bytes: give hexadecimal digits, or @file"),
        ("@nowhere", "bin", "nowhere: cannot be read: No such file"),
        ("1", "int", "there is no type 'int' of parameters: there are auto, bool"),
        ("[" * 5000, "int32_list", "is no value of type int32_list"),
    ],
)
def test_what_a_user_mistypes(text: str, kind: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_parameter(text, kind)


def test_params_sets_gets_lists_and_removes(cli: Cli, place: Path) -> None:
    before = tflite.read(place / "net.tflite")
    for words in (["threshold", "0.5"], ["classes", '["a", "b"]'], ["count", "-3"], ["name", "[bold] x"]):
        assert cli("params", "net.tflite", "set", *words).code == 0
    assert cli("params", "net.tflite", "set", "key", "00ff", "--type", "bin").code == 0
    assert cli("params", "net.tflite", "get", "threshold").out == "0.5\n"
    assert cli("params", "net.tflite", "get", "key").out == "00ff\n"
    assert json.loads(cli("params", "net.tflite", "get", "classes", "--json").out)["value"] == ["a", "b"]
    listed = cli("params", "net.tflite").out
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [
        ["threshold", "float"],
        ["classes", "str_list"],
        ["count", "int8"],
        ["name", "str"],
        ["key", "bin"],
    ]
    assert "[bold] x" in listed
    assert cli("params", "net.tflite", "remove", "count").code == 0
    shown = json.loads(cli("params", "net.tflite", "--json").out)
    assert list(shown["parameters"]) == ["threshold", "classes", "name", "key"]
    after = tflite.read(place / "net.tflite")
    assert after.graphs == before.graphs
    assert (after.signatures, after.description) == (before.signatures, before.description)


def test_params_writes_elsewhere_and_leaves_the_model(cli: Cli, place: Path) -> None:
    content = (place / "net.tflite").read_bytes()
    assert cli("params", "net.tflite", "set", "a", "1", "-o", "out/new.tflite").code == 0
    assert (place / "net.tflite").read_bytes() == content
    assert read_parameters(tflite.read(place / "out/new.tflite"))["a"].value == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "a"], "net.tflite has no parameter 'a'; it has none"),
        (["remove", "a"], "net.tflite has no parameter 'a'"),
        (["get"], "nothing follows 'get'; the form is: tersor params MODEL get KEY"),
        (["set", "a"], "'a' follows 'set'; the form is: tersor params MODEL set KEY VALUE"),
        (["change", "a"], "params does not know 'change': there are list, get, set, remove, attach"),
        (["set", "a", "300", "--type", "uint8"], "300 is no value of type uint8"),
        (["attach"], "attach what? Give --rescale"),
        (["set", "a", "1", "--mean", "1"], "normalization and labels are written by 'attach', not by 'set'"),
        (["list", "-o", "x.tflite"], "--output goes with set, remove, attach; 'list' writes nothing"),
    ],
)
def test_params_refuses_in_one_line(cli: Cli, place: Path, arguments: list[str], message: str) -> None:
    content = (place / "net.tflite").read_bytes()
    answer = cli("params", "net.tflite", *arguments)
    assert answer.code == RecipeError.exit_code
    assert answer.err.startswith(f"error: {message}")
    assert len(answer.err.splitlines()) == 1
    assert (place / "net.tflite").read_bytes() == content
    assert {path.name for path in place.iterdir()} == {"net.tflite", "x.npy"}


READ = """
import json, sys
from mltk.core import TfliteModelParameters

found = TfliteModelParameters.load_from_tflite_file(sys.argv[1])
shown = {key: value.hex() if isinstance(value, bytes) else value for key, value in found.items()}
found["by mltk"] = [1, 2, 3]
found["nought"] = 0.0
found.add_to_tflite_file(sys.argv[1], sys.argv[2])
print("answer " + json.dumps(shown))
"""


@pytest.mark.slow
@pytest.mark.skipif(MLTK is None, reason="TERSOR_MLTK_PYTHON names no Python")
def test_mltk_reads_what_we_write_and_we_what_it_writes(cli: Cli, place: Path) -> None:
    given_ones = {kind: Parameter(kind, value) for kind, value in EXAMPLES.items()}  # type: ignore[arg-type]
    tflite.write(with_parameters(classifier(), given_ones), place / "net.tflite")
    assert cli("params", "net.tflite", "attach", "--rescale", "1/255").code == 0
    done = subprocess.run(
        [str(MLTK), "-c", READ, "net.tflite", "mltk.tflite"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("answer "))
    found = json.loads(line.removeprefix("answer "))
    wanted = {key: list(value) if isinstance(value, tuple) else value for key, value in EXAMPLES.items()}
    wanted["bin"] = bytes(range(256)).hex()
    assert found.pop("samplewise_norm.rescale") == pytest.approx(1 / 255, rel=1e-7)
    assert found.pop("samplewise_norm.mean_and_std") is False
    assert found == wanted
    theirs = read_parameters(tflite.read(place / "mltk.tflite"))
    assert theirs["by mltk"] == Parameter("int32_list", (1, 2, 3))
    assert theirs["nought"] == Parameter("double", 0.0)
    assert {key: theirs[key] for key in given_ones}["str"].value == EXAMPLES["str"]
