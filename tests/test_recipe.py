"""Recipes: what ships, what a file may say, and what it may not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.errors import RecipeError
from tersor.ir.dtypes import DType
from tersor.recipe import Recipe, Rule, Scheme, adjusted, load_recipe, parse_recipe, presets, to_toml


@pytest.mark.parametrize("name", presets())
def test_presets_are_recipes(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert hash(recipe) == hash(load_recipe(name))


def test_presets_are_the_flavours_of_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "recipes.md").read_text()
    assert all(f"| `{name}` |" in page for name in presets())


def test_empty_recipe_is_the_model_as_it_is() -> None:
    recipe = parse_recipe("", "nothing")
    assert recipe.scheme.activations is DType.FLOAT32
    assert not recipe.needs_calibration


WRONG = {
    "not TOML": "activations = ",
    "unknown key 'activation'": 'activation = "int8"',
    "unknown type 'int7'": 'activations = "int7"',
    "weights is uint8": 'weights = "uint8"',
    "do not go with compute": 'activations = "int8"\nweights = "int8"',
    "need weights int8, int4 or int2": 'activations = "int8"\nweights = "float32"\ncompute = "integer"',
    "granularity is per_row": 'granularity = "per_row"',
    "it must be a share": "small_layers_share = 1.5",
    "small_layers_share is 1: it must be a float": "small_layers_share = 1",
    "interface is int4": 'interface = "int4"',
    "not a regular expression": '[[rules]]\npattern = "("\nactivations = "float32"',
    "rule: unknown key 'activation'": '[[rules]]\nactivation = "float32"',
    "minimum_elements is 'a'": 'minimum_elements = "a"',
    "float_fallback is 'no'": 'float_fallback = "no"',
    "it becomes part of a file's name": 'name = "../escaped"',
    "operators is 'CONV_2D'": '[[rules]]\noperators = "CONV_2D"\nactivations = "float32"',
    "compute 'dynamic' needs weights int8": 'weights = "float16"\ncompute = "dynamic"',
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_recipe_is_refused_with_the_file_and_the_key(message: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(WRONG[message], "mine", "mine.toml")
    assert message in str(error.value)
    assert str(error.value).startswith("mine.toml: ")


def test_last_rule_that_matches_wins() -> None:
    recipe = parse_recipe(
        """
        activations = "int8"
        weights = "int8"
        compute = "integer"
        [[rules]]
        pattern = "^head/"
        activations = "int16"
        [[rules]]
        operators = ["SOFTMAX"]
        activations = "float32"
        """,
        "mixed",
    )
    assert recipe.scheme_of("CONV_2D", "body/conv").activations is DType.INT8
    assert recipe.scheme_of("CONV_2D", "head/conv").activations is DType.INT16
    softmax = recipe.scheme_of("SOFTMAX", "head/softmax")
    assert (softmax.activations, softmax.weights, softmax.compute) == (DType.FLOAT32, DType.FLOAT32, "float")


def test_options_change_single_keys() -> None:
    recipe = adjusted(load_recipe("int8"), per_tensor=True, keep_float=["SOFTMAX", "conv_[12]$"], interface="uint8")
    assert recipe.scheme.granularity == "per_tensor"
    assert recipe.interface is DType.UINT8
    assert recipe.float_fallback
    assert recipe.scheme_of("SOFTMAX", "x").compute == "float"
    assert recipe.scheme_of("CONV_2D", "conv_1").compute == "float"
    assert recipe.scheme_of("CONV_2D", "conv_3").compute == "integer"


def test_unknown_flavour_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"unknown flavour 'int9'.*int8_w4"):
        load_recipe("int9")


def test_weight_observer_is_checked_and_used() -> None:
    with pytest.raises(RecipeError, match="weight_observer is median: it must be one of min_max, mse"):
        parse_recipe('weight_observer = "median"', "mine")
    assert load_recipe("int8_w4").weight_observer == "mse"
    assert load_recipe("int8").weight_observer == "min_max"


def test_one_scale_per_tensor_has_algorithms_of_its_own() -> None:
    recipe = load_recipe("int8")
    changed = adjusted(recipe, per_tensor=True)
    assert "cross_layer_equalization" in changed.algorithms
    assert "cross_layer_equalization" not in recipe.algorithms
    assert changed.fan_in_limit == recipe.per_tensor_fan_in_limit
    assert adjusted(recipe, per_tensor=True, algorithms=["gptq"]).algorithms == ("gptq",)
    plain = parse_recipe('algorithms = ["gptq"]\nactivations = "int8"\nweights = "int8"\ncompute = "integer"', "plain")
    assert adjusted(plain, per_tensor=True).algorithms == ("gptq",)


# -- written and read again

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SCHEMES = st.sampled_from(
    [
        Scheme(),
        Scheme(DType.INT8, DType.INT8, "per_tensor", "integer"),
        Scheme(DType.INT16, DType.INT4, "per_channel", "integer"),
        Scheme(DType.FLOAT32, DType.INT8, "per_channel", "dynamic"),
    ]
)
RULES = st.builds(
    Rule,
    st.sampled_from(
        [
            (("activations", "float32"), ("weights", "float32"), ("compute", "float")),
            (("activations", "int8"), ("weights", "int8"), ("compute", "integer")),
        ]
    ),
    operators=st.lists(TEXTS, max_size=3).map(tuple),
    names=st.lists(TEXTS, max_size=3).map(tuple),
    pattern=TEXTS.map(re.escape),
)
RECIPES = st.builds(
    Recipe,
    name=st.from_regex(r"[\w.-]+", fullmatch=True),
    scheme=SCHEMES,
    interface=st.sampled_from([DType.FLOAT32, DType.UINT8]),
    float_fallback=st.booleans(),
    observer=TEXTS,
    weight_observer=st.sampled_from(["min_max", "mse"]),
    algorithms=st.lists(TEXTS, max_size=3).map(tuple),
    fan_in_limit=st.integers(0, 10**9),
    per_tensor_algorithms=st.lists(TEXTS, max_size=3).map(tuple),
    per_tensor_fan_in_limit=st.integers(0, 10**9),
    minimum_elements=st.integers(0, 10**9),
    rules=st.lists(RULES, max_size=3).map(tuple),
)


@settings(deadline=None)
@given(RECIPES, st.lists(TEXTS, max_size=2))
def test_recipe_is_read_as_it_was_written(recipe: Recipe, remarks: list[str]) -> None:
    assert parse_recipe(to_toml(recipe, remarks), "other") == recipe


@pytest.mark.parametrize("name", presets())
def test_presets_are_read_as_they_were_written(name: str) -> None:
    recipe = adjusted(load_recipe(name), keep_float=["SOFTMAX", "^head/"])
    assert parse_recipe(to_toml(recipe), "other") == recipe


def test_name_that_no_recipe_may_give_itself_is_left_to_the_file() -> None:
    recipe = parse_recipe("", "my recipe")
    assert parse_recipe(to_toml(recipe), "my recipe") == recipe
