"""Repair reaches a goal by the cheapest means, says what it did, and promises no more than samples show."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Cli
from small_nets import DEMO, DEMO_DATA, classifier, images, random, through_file
from tersor.data.dataset import from_iterable
from tersor.data.feed import Sample
from tersor.errors import DataError, PlanError, RecipeError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.ir.plan import Plan
from tersor.recipe import Recipe, Rule, load_recipe, parse_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.evaluate import Change
from tersor.stages.optimize import optimize
from tersor.stages.outcome import Options
from tersor.stages.plan import plan
from tersor.stages.produce import produce
from tersor.stages.repair import Repair, repair, repair_each, together
from tersor.stages.repair.climb import Climb
from tersor.stages.repair.figures import Figures, Tally, classes_of, gain_db
from tersor.stages.repair.goal import Goal, Verdict, goal_of, parse_drop
from tersor.stages.repair.ladder import LADDER, Rung, with_algorithms
from tersor.stages.repair.samples import LEAST, MOST, divided
from tersor.stages.repair.trial import Trial
from tersor.stages.repair.widening import cheapest, widenings
from tersor.stages.statistics import Statistics

INT8 = load_recipe("int8")
PLAIN = replace(INT8, algorithms=())


def autoencoder(gap: float = 1.0) -> Model:
    """x [1,24] -> 3 FULLY_CONNECTED, ReLU -> [1,24]; channels of the first layer differ by a factor of `gap`."""
    builder = Builder("autoencoder")
    y = builder.input("x", [1, 24])
    for number, (units, depth) in enumerate(((16, 24), (16, 16), (24, 16))):
        weights = random([units, depth], number) / math.sqrt(depth)
        if number == 0:
            weights = (weights.T * np.geomspace(1, gap, units)).T.astype(np.float32)
        if number == 1:
            weights = (weights / np.geomspace(1, gap, depth)).astype(np.float32)
        constants = (
            builder.constant(f"w{number}", weights),
            builder.constant(f"b{number}", random([units], 10 + number) / 4),
        )
        options = {"fused_activation_function": int(number < 2)}
        y = builder.op("FULLY_CONNECTED", [y, *constants], [1, units], options, name=f"layer{number}")
    return through_file(builder.model([y]))


def signals(count: int, seed: int = 0) -> list[Array]:
    """Inputs of `autoencoder`: mixtures of three waves."""
    generator = np.random.default_rng(seed)
    waves = np.sin(np.outer([1, 2, 5], np.arange(24)) / 4)
    return [(generator.normal(size=3) @ waves).astype(np.float32)[None] for _ in range(count)]


def figures(noise: Sequence[float] | Array, **more: object) -> Figures:
    """Of one output with a signal of 1 in each sample."""
    values = np.array(noise, np.float64)[:, None]
    return Figures(np.ones_like(values), values, **more)  # type: ignore[arg-type]


def classified(changed: int, lost: float, drop: float, interval: tuple[float, float], samples: int = 200) -> Figures:
    """Of a classifier: answers that changed, the mean confidence lost, and the measured drop."""
    marks = np.zeros(samples)
    marks[:changed] = 1
    return figures(
        [0.01] * samples,
        changed=marks,
        lost=marks * lost * samples / max(changed, 1),
        change=Change(-drop, interval),
        score=0.9,
    )


# -- the goal


@pytest.mark.parametrize(
    ("text", "share"), [("0.5%", 0.005), ("0.005", 0.005), (" 1 % ", 0.01), ("0", 0), (".2%", 0.002)]
)
def test_drop_is_a_share_or_percent(text: str, share: float) -> None:
    assert parse_drop(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "half", "-1%", "0,5%", "nan", "1%%"])
def test_what_is_no_drop_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="is not a share"):
        parse_drop(text)


@pytest.mark.parametrize("drop", [0.5, -0.1, math.nan])
def test_half_a_percent_written_as_a_half_is_refused(drop: float) -> None:
    with pytest.raises(RecipeError, match=r"half a percent is 0\.5% or 0\.005"):
        goal_of(drop, None, has_classes=True)


@pytest.mark.parametrize(
    ("metric", "has_classes", "kind"),
    [("top1", True, "points"), ("auc", False, "points"), ("mse", False, "relative"), (None, True, "answers")],
)
def test_kind_of_goal_follows_from_the_data(metric: str | None, has_classes: bool, kind: str) -> None:
    assert goal_of(0.01, metric, has_classes=has_classes).kind == kind


def test_noise_of_half_a_percent_is_23_decibel() -> None:
    assert "23.0 dB" in str(goal_of(0.005, None, has_classes=False))


POINTS = Goal(0.005, "points", "top1")


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (classified(1, 0.0001, 0.0, (-0.004, 0.004)), Verdict.SHOWN),
        (classified(5, 0.001, 0.0, (-0.02, 0.02)), Verdict.REACHED),
        (classified(5, 0.001, 0.01, (-0.03, 0.01)), Verdict.OPEN),
        (classified(5, 0.001, 0.03, (-0.04, -0.02)), Verdict.MISSED),
        (classified(9, 0.01, 0.0, (-0.02, 0.02)), Verdict.MISSED),
    ],
)
def test_verdict_of_a_classifier_needs_both_estimates(seen: Figures, verdict: Verdict) -> None:
    assert POINTS.verdict(seen) is verdict


def test_five_of_a_thousand_are_half_a_percent() -> None:
    assert POINTS.verdict(classified(3, 0.001, 0.936 - 0.931, (-0.01, 0.0))) is Verdict.REACHED


def test_goal_that_is_just_reached_is_not_likely_to_hold() -> None:
    seen = classified(2, 0.0045, 0.0, (-0.02, 0.02))
    assert POINTS.verdict(seen) is Verdict.REACHED
    assert not POINTS.holds(seen)
    assert POINTS.holds(classified(2, 0.001, 0.0, (-0.02, 0.02)))


def test_no_answer_changed_in_few_samples_is_not_shown_to_stay_so() -> None:
    goal = Goal(0.005, "answers")
    few, many = (figures([0.001] * count, changed=np.zeros(count)) for count in (100, 1000))
    assert goal.verdict(few) is Verdict.REACHED
    assert goal.verdict(many) is Verdict.SHOWN
    assert goal.verdict(figures([0.001] * 100, changed=np.eye(100)[0])) is Verdict.MISSED


def test_relative_change_of_an_error_counts_upwards_only_and_of_an_unknown_metric_both_ways() -> None:
    better = figures([0.01] * 50, change=Change(-0.2, (-0.3, -0.1)), score=1.0)
    assert Goal(0.01, "relative", "mse").verdict(better) is Verdict.SHOWN
    assert Goal(0.01, "relative", "mine:metric").verdict(better) is Verdict.MISSED
    (reading,) = Goal(0.5, "relative", "mine:metric").readings(better)
    assert reading.value == pytest.approx(0.2)
    assert reading.interval == pytest.approx((0.1, 0.3))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=50), st.floats(0, 0.25))
def test_what_is_shown_is_reached_by_every_estimate(noise: list[float], limit: float) -> None:
    goal, seen = Goal(limit, "noise"), figures(noise)
    (reading,) = goal.readings(seen)
    assert reading.interval[0] <= reading.interval[1]
    if goal.verdict(seen) in (Verdict.SHOWN, Verdict.REACHED):
        assert reading.value <= limit + 1e-9
    else:
        assert reading.value > limit


# -- figures


def test_gain_is_paired() -> None:
    noise = np.random.default_rng(0).exponential(size=60)
    halved = gain_db(figures(noise), figures(noise / 2))
    assert halved.value == pytest.approx(10 * math.log10(2))
    assert halved.interval == pytest.approx((halved.value, halved.value))
    assert gain_db(figures(noise), figures(noise)) == Change(0.0, (0.0, 0.0))
    chance = gain_db(figures(noise), figures(np.random.default_rng(1).exponential(size=60)))
    assert not chance.is_significant


def test_gain_of_an_exact_or_a_dead_result_is_no_number_but_an_order() -> None:
    assert gain_db(figures([0.1] * 9), figures([0.0] * 9)).interval == (math.inf, math.inf)
    assert gain_db(figures([0.0] * 9), figures([0.1] * 9)).value == -math.inf
    assert gain_db(figures([0.0] * 9), figures([0.0] * 9)).value == 0.0


def test_worst_output_counts() -> None:
    both = Figures(np.array([[1.0, 4.0]] * 20), np.array([[0.1, 0.1]] * 20))
    assert both.share == pytest.approx(0.1)
    assert both.sqnr_db == pytest.approx(10)
    assert both.shares == pytest.approx([0.1] * 1000)


def test_expected_drop_is_the_confidence_that_is_lost() -> None:
    reference = np.array([[0.1, 0.6, 0.3]])
    for scores, is_logits in ((reference, False), (np.log(reference) + 3, True)):
        classes = classes_of([[scores]], "top1")
        assert classes is not None
        assert classes.are_logits is is_logits
        tally = Tally(classes, "top1")
        for other in ([[0.2, 0.5, 0.3]], [[0.2, 0.2, 0.6]]):
            tally.add(Sample(scores, 1), [scores], [np.array(other)])
        seen = tally.figures()
        assert seen.lost == pytest.approx([0.0, 0.3])
        assert list(seen.changed if seen.changed is not None else ()) == [0.0, 1.0]
        assert seen.agreement == 0.5
        assert seen.change is not None
        assert seen.change.value == -0.5
        assert seen.score == 1.0


def test_expected_drop_of_the_best_five_is_that_of_their_sum() -> None:
    scores = np.array([[0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05]])
    tally = Tally(classes_of([[scores]], "top5"), "top5")
    tally.add(Sample(scores, 0), [scores], [scores[:, ::-1]])
    lost = tally.figures().lost
    assert lost is not None
    assert lost[0] == pytest.approx(0.3 + 0.2 - 0.08 - 0.05)


def test_classes_are_seen_by_the_metric_or_by_probabilities() -> None:
    probabilities, reals = np.array([[0.2, 0.8]]), np.array([[1.5, -0.5]])
    assert classes_of([[reals]], None) is None
    assert classes_of([[reals]], "mse") is None
    assert classes_of([[np.array([[1.0]])]], None) is None, "one value is no choice"
    found = classes_of([[reals, probabilities]] * 2, None)
    assert found is not None
    assert found.place == 1
    assert classes_of([[probabilities], [reals]], None) is None


# -- samples


def first_value(sample: Sample) -> float:
    return float(np.asarray(sample.inputs).flat[0])


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 60), st.booleans())
def test_interleaved_sets_are_disjoint_and_whole(count: int, most: int, is_sized: bool) -> None:
    items = [np.array([number]) for number in range(count)]
    data = from_iterable(items)
    if not is_sized:
        data = replace(data, size=None)
    first, others = ([int(first_value(item)) for item in part] for part in data.interleaved(most))
    assert len(first) == min(most, count // 2)
    assert sorted((*first, *others)) == list(range(count))
    assert first == sorted(first)
    if is_sized and first:
        steps = np.diff([-1, *first, count])
        assert steps.max() <= count / len(first) + 2, "spread over all of the data"


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 500))
def test_few_of_many_are_spread_over_all(count: int, most: int) -> None:
    data = from_iterable([np.array([number]) for number in range(count)])
    found = [int(first_value(item)) for item in data.spread(most)]
    assert len(found) == min(most, count)
    assert found == sorted(set(found))
    if found:
        assert np.diff([-1, *found, count]).max() <= count / len(found) + 2
    assert len(list(replace(data, size=None).spread(most))) == len(found)


@pytest.mark.parametrize("is_sized", [True, False])
def test_calibration_tuning_and_reporting_have_no_sample_in_common(is_sized: bool) -> None:
    data = from_iterable([np.full((6, 6, 3), number, np.float32) for number in range(150)])
    data = data if is_sized else replace(data, size=None)
    own = divided(classifier(), data, None, 50)
    parts = [set(map(first_value, part)) for part in (own.calibration, own.tuning, own.reporting)]
    assert [len(part) for part in parts] == [50, 50, 50]
    assert set.union(*parts) == set(range(150))


def test_other_data_is_reported_on_and_all_of_the_rest_tunes() -> None:
    data, other = (from_iterable(list(images(count, seed))) for count, seed in ((90, 0), (60, 1)))
    own = divided(classifier(), data, other, 50)
    assert len(own.tuning) == 40
    assert len(list(own.reporting)) == 60
    many = divided(classifier(), from_iterable(list(images(2200))), other, 100)
    assert len(many.tuning) == MOST


@pytest.mark.parametrize(
    ("count", "evaluation", "lacking"), [(89, None, "tune"), (60, 50, "tune"), (120, 19, "report")]
)
def test_too_few_samples_are_refused_with_what_to_do(count: int, evaluation: int | None, lacking: str) -> None:
    data = from_iterable(list(images(count)))
    other = None if evaluation is None else from_iterable(list(images(evaluation)))
    with pytest.raises(DataError, match=f"left to {lacking} on beside the 50 .* at least {LEAST} .*fewer --samples"):
        divided(classifier(), data, other, 50)


# -- the ladder


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
@pytest.mark.parametrize("flavour", ["int8", "uint8", "int8_float_io", "int16x8", "int8_w4", "dynamic"])
def test_rungs_change_recipes_once_and_into_recipes(rung: Rung, flavour: str) -> None:
    recipe = load_recipe(flavour)
    changed = rung.change(recipe)
    assert rung.change(changed) == changed
    assert replace(changed, scheme=recipe.scheme) == changed, "numbers are not for free rungs to change"
    assert changed.interface is recipe.interface
    assert changed.float_fallback is recipe.float_fallback


def test_added_algorithms_take_their_place_and_unknown_ones_stay() -> None:
    recipe = replace(INT8, algorithms=("bias_correction", "coordinate_descent"))
    assert with_algorithms(recipe, "bias_correction") == recipe, "an order that was asked for stays"
    added = with_algorithms(recipe, "gptq", "zero_dead_channels")
    assert added.algorithms == ("zero_dead_channels", "gptq", "coordinate_descent", "bias_correction")


# -- widening


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_cheapest_is_found_in_few_trials(count: int, first: int) -> None:
    tried: list[int] = []

    def reaches(place: int) -> bool:
        tried.append(place)
        return place >= first

    assert cheapest(count, reaches) == (first if first < count else None)
    assert len(tried) == len(set(tried))
    assert len(tried) <= math.log2(count + 1) + 2


@pytest.mark.parametrize(
    ("flavour", "islands", "found"),
    [
        ("int8", None, ["int16"]),
        ("int8", "none", []),
        ("uint8", "int16", ["int16"]),
        ("int8_float_io", None, ["float"]),
        ("int8_float_io", "int16", ["int16"]),
        ("int16x8", None, ["float"]),
        ("int16x8", "int16", []),
        ("int8_w4", None, ["int8_weights", "float"]),
        ("int8_w4", "none", ["int8_weights"]),
        ("float16", None, []),
        ("dynamic", "float", []),
    ],
)
def test_what_may_be_widened(flavour: str, islands: str | None, found: list[str]) -> None:
    assert [item.widen for item in widenings(load_recipe(flavour), islands)] == found


def test_integers_only_never_get_float_islands() -> None:
    with pytest.raises(RecipeError, match="int8 is integer only"):
        widenings(INT8, "float")
    with pytest.raises(RecipeError, match="must be one of int16, float, none"):
        widenings(INT8, "int4")


@dataclass(frozen=True)
class Mix:
    """What `mixed_precision.mixtures` gives."""

    recipe: Recipe
    operators: tuple[str, ...]


class Benched:
    """Stands for `Bench`: the noise of a recipe is what a table says, without any network."""

    def __init__(self, noise: dict[Recipe, float]) -> None:
        self.noise = noise
        self.preparation = self

    def forget_all_but(self, recipe: Recipe) -> None:
        assert recipe in self.noise

    def trial(self, recipe: Recipe) -> Trial:
        if recipe not in self.noise:
            raise PlanError("no such thing\nat all")
        jitter = 1 + 0.01 * np.random.default_rng(len(recipe.rules)).normal(size=40)
        return Trial(recipe, figures(list(self.noise[recipe] * jitter)), 1000, repr(self.noise[recipe]), 0.5)


def climbing(noise: dict[Recipe, float], limit: float = 0.005, seconds: float = 60.0) -> Climb:
    bench = Benched(noise)
    return Climb(bench, Goal(limit, "noise"), time.monotonic() + seconds, lambda _: None)  # type: ignore[arg-type]


def mixes(count: int) -> list[Mix]:
    names = tuple(f"op{number}" for number in range(count))
    sets = [names[: number + 1] for number in range(count)]
    wide = (("activations", "int16"),)
    return [Mix(replace(INT8, rules=(Rule(wide, names=own),)), own) for own in sets]


@pytest.mark.parametrize("needed", [0, 3, 6, 9])
def test_fewest_operators_that_reach_the_goal_are_widened(needed: int) -> None:
    choices = mixes(10)
    noise = {mix.recipe: 0.004 if number >= needed else 0.01 for number, mix in enumerate(choices)}
    climb = climbing({INT8: 0.02, **noise})
    climb.start(INT8)
    climb.widen(widenings(INT8, None)[0], lambda recipe: choices)
    assert climb.kept.recipe == choices[needed].recipe
    (kept,) = [step for step in climb.steps[1:] if step.kept]
    assert kept.operators == choices[needed].operators
    assert kept.why == "fewest for the goal"
    assert kept.rung == f"16-bit operators: {needed + 1}"
    assert all(step.cost == "latency" for step in climb.steps[1:])


def test_out_of_reach_the_cheapest_of_the_best_is_kept() -> None:
    choices = mixes(8)
    levels = [0.019, 0.018, 0.012, 0.012, 0.012, 0.012, 0.012, 0.012]
    climb = climbing({INT8: 0.02, **{mix.recipe: level for mix, level in zip(choices, levels, strict=True)}})
    climb.start(INT8)
    climb.widen(widenings(INT8, None)[0], lambda recipe: choices)
    assert climb.kept.recipe == choices[2].recipe
    assert [len(step.operators) for step in climb.steps[1:]] == [8, 4, 2, 3]
    assert [step.why for step in climb.steps[1:]] == ["not enough", "not enough", "not enough", "comes nearest"]


def test_more_bits_that_do_not_help_are_not_spent() -> None:
    choices = mixes(3)
    climb = climbing({INT8: 0.02, **{mix.recipe: 0.02 for mix in choices}})
    climb.start(INT8)
    climb.widen(widenings(INT8, None)[0], lambda recipe: choices)
    assert climb.kept.recipe == INT8


def test_nothing_is_widened_where_the_goal_holds() -> None:
    climb = climbing({INT8: 0.001})
    climb.start(INT8)
    climb.widen(widenings(INT8, None)[0], lambda recipe: pytest.fail("asked for mixtures"))
    climb.free_rungs()
    assert len(climb.steps) == 1


def test_what_cannot_be_made_is_logged_and_left() -> None:
    def refuse(recipe: Recipe) -> list[Mix]:
        raise PlanError("nothing can be widened\nhere")

    climb = climbing({INT8: 0.02})
    climb.start(INT8)
    climb.widen(widenings(INT8, None)[0], refuse)
    climb.free_rungs()
    assert climb.kept.recipe == INT8
    assert climb.steps[1].why == "not possible: nothing can be widened"
    assert {step.why for step in climb.steps[2:]} == {"not possible: no such thing"}


def test_nothing_is_begun_when_the_time_is_up() -> None:
    climb = climbing({INT8: 0.02}, seconds=-1)
    climb.start(INT8)
    climb.free_rungs()
    climb.widen(widenings(INT8, None)[0], lambda recipe: pytest.fail("asked for mixtures"))
    assert climb.steps[-1].rung == "16-bit operators"
    assert all(step.after is None and "time is up" in step.why for step in climb.steps[1:])
    assert climb.kept.recipe == INT8


def test_search_that_is_cut_short_keeps_what_it_has() -> None:
    choices = mixes(8)
    climb = climbing({INT8: 0.02, **{mix.recipe: 0.004 for mix in choices}})
    climb.start(INT8)
    trial = climb._bench.trial

    def last_one(recipe: Recipe) -> Trial:
        climb._deadline = 0.0
        return trial(recipe)

    climb._bench.trial = last_one  # type: ignore[method-assign]
    climb.widen(widenings(INT8, None)[0], lambda recipe: choices)
    assert [len(step.operators) for step in climb.steps[1:]] == [8]
    assert climb.kept.recipe == choices[-1].recipe


def test_rungs_are_kept_by_what_they_do_and_start_from_what_was_kept() -> None:
    def observed(name: str, recipe: Recipe = INT8) -> Recipe:
        return replace(recipe, observer=name)

    def limited(limit: int) -> Rung:
        return Rung(f"limit {limit}", "", lambda recipe: replace(recipe, fan_in_limit=limit))

    same, bad, end = (replace(observed("mse"), fan_in_limit=limit) for limit in (1, 2, 3))
    ladder = [
        Rung("helps", "", lambda recipe: replace(recipe, observer="mse")),
        *map(limited, (1, 2, 3)),
        Rung("never", "", lambda recipe: pytest.fail("the goal was shown")),
    ]
    noise = {INT8: 0.02, observed("mse"): 0.01, same: 0.01, bad: 0.03, end: 0.001}
    climb = climbing(noise)
    climb.start(INT8)
    climb.free_rungs(ladder)
    assert [(step.rung, step.kept) for step in climb.steps[1:]] == [
        ("helps", True),
        ("limit 1", False),
        ("limit 2", False),
        ("limit 3", True),
    ]
    assert [step.why for step in climb.steps[1:]] == ["helps", "changes nothing", "harms", "shows the goal"]
    assert climb.kept.recipe == end


def test_what_helps_nearly_all_samples_is_kept_where_one_makes_most_of_the_noise() -> None:
    """The sum hangs on that one; half of the others' noise is no chance."""
    numbers = np.random.default_rng(0)
    noise = 1e-3 * numbers.lognormal(sigma=1.0, size=100)
    noise[7] = 5.0
    gained = 10 ** (-numbers.normal(1.0, 2.0, 100) / 10)
    gained[7] = 0.999
    climb = climbing({})
    before, after, harmed = (
        Trial(INT8, figures(values), 1000, digest, 0.0)
        for digest, values in (("a", noise), ("b", noise * gained), ("c", np.where(noise > 1, 6.0, noise * gained)))
    )
    assert gain_db(before.figures, after.figures).interval[0] <= 0.1
    kept, why = climb._judged(before, after, gain_db(before.figures, after.figures))
    assert kept
    assert re.fullmatch(r"helps: \+[01]\.\d dB sample by sample", why)
    assert not climb._judged(before, harmed, gain_db(before.figures, harmed.figures))[0], "the sum is worse"


def test_a_better_figure_with_worse_answers_is_not_kept() -> None:
    goal = Goal(0.001, "answers")
    before, after = (
        figures([noise] * 100, changed=1.0 * (np.arange(100) < count)) for noise, count in ((0.02, 5), (0.01, 20))
    )
    assert goal.is_worse(before, after)
    assert not goal.is_worse(after, before)
    assert not Goal(0.001, "noise").is_worse(before, after)


# -- the whole of it


def regression(folder: Path, engine: Engine, recipe: Recipe, drop: float, gap: float = 1.0, **more: object) -> Repair:
    """`autoencoder` repaired; without labels and classes."""
    path = folder / "net.int8.tflite"
    options = Options(calibration_samples=60)
    return repair(autoencoder(gap), recipe, path, signals(200), max_drop=drop, options=options, engine=engine, **more)  # type: ignore[arg-type]


def test_nothing_is_done_twice(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each recipe is planned once, and the float model is optimized once."""
    planned: list[Recipe] = []
    optimized: list[Model] = []

    def plan_once(model: Model, recipe: Recipe, statistics: Statistics) -> Plan:
        planned.append(recipe)
        return plan(model, recipe, statistics)

    def optimize_once(model: Model) -> Model:
        optimized.append(model)
        return optimize(model)

    monkeypatch.setattr("tersor.stages.prepare.plan", plan_once)
    monkeypatch.setattr("tersor.stages.produce.optimize", optimize_once)
    found = regression(tmp_path, engine, PLAIN, 0.0001, gap=30, islands="none")
    assert len(found.steps) > 3
    assert len(optimized) == 1
    assert len(planned) == len(set(planned))


def test_regression_is_repaired_by_its_noise(engine: Engine, tmp_path: Path) -> None:
    found = regression(tmp_path, engine, PLAIN, 0.0001, gap=30, islands="none")
    assert found.goal.kind == "noise"
    assert found.steps[0].why == "goal missed"
    assert any(step.kept for step in found.steps[1:])
    assert all(step.cost == "nothing" for step in found.steps if step.kept)
    assert [step.why for step in found.steps if step.rung == "outliers"] == ["changes nothing"]
    assert found.slowdown is None
    assert (found.tuning_samples, found.figures.samples) == (70, 70)
    (product,) = found.outcome.products
    assert product.sqnr_db == pytest.approx(found.figures.sqnr_db)
    assert found.outcome.calibration_samples == 60
    assert found.outcome.evaluation_samples == 70
    own = divided(autoencoder(30), from_iterable(signals(200)), None, 60)
    plain = produce(autoencoder(30), {PLAIN: tmp_path / "plain.tflite"}, own.calibration, own.reporting, engine=engine)
    before, after = plain.products[0].sqnr_db, product.sqnr_db
    assert before is not None
    assert after is not None
    assert after > before + 0.3, "on other samples than it was tuned on"


WIDE_DOOR = replace(INT8, interface=DType.INT16)
"""8 bits inside, 16 at the door, so that more bits inside can help."""


def test_fewest_operators_of_a_regression_get_16_bits(engine: Engine, tmp_path: Path) -> None:
    found = regression(tmp_path, engine, WIDE_DOOR, 0.00007)
    assert found.reached
    (widened,) = [step for step in found.steps if step.kept and step.operators]
    assert widened.cost == "latency"
    assert found.slowdown is not None
    assert 0 < found.slowdown < 1000
    made = tflite.read(tmp_path / "net.int8.tflite").graph
    types = {tensor.dtype for tensor in made.tensors.values() if not tensor.is_constant}
    assert types == {DType.INT8, DType.INT16}, "some stay at 8 bits, and integers only stays integers only"


def test_recipe_that_was_found_makes_the_same_file_again(engine: Engine, tmp_path: Path) -> None:
    found = regression(tmp_path, engine, WIDE_DOOR, 0.00007)
    path = tmp_path / "again.tflite"
    text = found.recipe_path.read_text("utf-8")
    assert found.recipe_path == tmp_path / "net.int8.recipe.toml"
    recipe = parse_recipe(text, "again")
    assert recipe == found.recipe
    assert recipe.rules
    produce(autoencoder(), {recipe: path}, signals(200), options=Options(calibration_samples=60), engine=engine)
    assert path.read_bytes() == (tmp_path / "net.int8.tflite").read_bytes()


def test_goal_out_of_reach_writes_what_comes_nearest_and_says_what_would_do(engine: Engine, tmp_path: Path) -> None:
    found = regression(tmp_path, engine, INT8, 0.0, islands="none")
    assert found.verdict is Verdict.MISSED
    assert not found.reached
    assert (tmp_path / "net.int8.tflite").exists()
    (other,) = found.elsewhere
    assert other.recipe == load_recipe("int16x8")
    assert other.figures.sqnr_db > found.figures.sqnr_db + 10


def test_time_that_is_up_leaves_the_recipe_as_it_was_asked_for(engine: Engine, tmp_path: Path) -> None:
    found = regression(tmp_path, engine, PLAIN, 0.0001, minutes=0.0)
    assert found.recipe == PLAIN
    assert (tmp_path / "net.int8.tflite").exists()


def test_error_of_the_task_drives_repair(engine: Engine, tmp_path: Path) -> None:
    data = [Sample(x, x) for x in signals(200)]
    options = Options(calibration_samples=60, metric="mse")
    found = repair(autoencoder(), PLAIN, tmp_path / "net.tflite", data, max_drop=0.2, options=options, engine=engine)
    assert found.goal == Goal(0.2, "relative", "mse")
    assert found.reached
    (reading,) = found.goal.readings(found.figures)
    score, reference = found.outcome.products[0].score, found.outcome.reference.score
    assert score is not None
    assert reference is not None
    assert reading.value == pytest.approx(score.value / reference.value - 1)


def test_several_flavours_are_repaired_each_by_itself(engine: Engine, tmp_path: Path) -> None:
    outputs = {load_recipe(name): tmp_path / f"net.{name}.tflite" for name in ("int8", "float16")}
    options = Options(calibration_samples=30)
    data = list(images(100))
    found = repair_each(classifier(), outputs, data, max_drop=0.01, options=options, engine=engine)
    outcome = together(found)
    assert [product.recipe for product in outcome.products] == ["int8", "float16"]
    assert outcome.calibration_samples == 30
    assert [item.goal.kind for item in found] == ["answers", "answers"]
    assert all(path.exists() for path in outputs.values())
    with pytest.raises(PlanError, match="give --data"):
        repair_each(classifier(), outputs, None, max_drop=0.01)


def test_recipes_with_different_observers_are_made_together(engine: Engine, tmp_path: Path) -> None:
    recipes = [replace(INT8, name=name, observer=name) for name in ("min_max", "moving_average")]
    outputs = {recipe: tmp_path / f"{recipe.name}.tflite" for recipe in recipes}
    data = list(images(30))
    produce(classifier(), outputs, data, engine=engine)
    for recipe, path in outputs.items():
        alone = tmp_path / "alone.tflite"
        produce(classifier(), {recipe: alone}, data, engine=engine)
        assert alone.read_bytes() == path.read_bytes()
    assert len({path.read_bytes() for path in outputs.values()}) == 2


# -- the command line


def quantize_demo(*more: str) -> tuple[str, ...]:
    return (
        "quantize",
        str(DEMO),
        "--data",
        str(DEMO_DATA),
        "--rescale",
        "1/255",
        "--samples",
        "60",
        "-o",
        "out",
        *more,
    )


def test_command_repairs_and_says_what_it_did(cli: Cli, place: Path) -> None:
    answer = cli(*quantize_demo("--algorithms", "none", "--max-drop", "2%"))
    assert answer.code == 0, answer.err
    titles, first, *_ = answer.out.splitlines()
    assert titles.split()[:4] == ["int8:", "tried", "points", "lost"]
    assert first.startswith("as asked")
    assert "goal reached" in answer.err
    assert "tuned on 70 samples, others than those calibrated and those reported on" in answer.err
    assert "measured on 70 other samples" in answer.err
    recipe = place / "out" / "fashion_mnist.int8.recipe.toml"
    assert f"wrote {recipe.relative_to(place)}" in answer.err
    again = cli(*quantize_demo("--as", str(recipe), "-o", "again.tflite"))
    assert again.code == 0, again.err
    assert (place / "again.tflite").read_bytes() == (place / "out" / "fashion_mnist.int8.tflite").read_bytes()


def test_command_ends_with_its_own_code_where_the_goal_is_missed(cli: Cli, place: Path) -> None:
    recipe = replace(load_recipe("int8_w4"), algorithms=())
    asked = ("--as", "int8_w4", "--algorithms", "none", "--max-drop", "0", "--max-minutes", "0", "--json")
    answer = cli(*quantize_demo(*asked))
    assert answer.code == 9
    (found,) = json.loads(answer.out)["repairs"]
    assert found["verdict"] == "missed"
    assert not found["reached"]
    assert parse_recipe(found["recipe"], "x") == recipe
    assert {step["why"] for step in found["steps"][1:]} <= {"not tried: time is up"}
    assert found["steps"][0]["after"]["readings"].keys() == {"expected", "measured"}
    assert (place / "out" / "fashion_mnist.int8_w4.tflite").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--max-drop", "half"), 2, "is not a share"),
        (("--max-drop", "0.5"), 2, "half a percent is 0.5% or 0.005"),
        (("--islands", "int16"), 2, "give --max-drop, too"),
        (("--max-drop", "1%", "--islands", "float"), 2, "integer only"),
        (("--max-drop", "1%", "--metric", "top0"), 2, "unknown metric"),
    ],
)
def test_what_repair_refuses(options: tuple[str, ...], code: int, message: str, cli: Cli, place: Path) -> None:
    answer = cli(*quantize_demo(*options))
    assert answer.code == code
    assert message in answer.err
    assert not (place / "out").exists()


def test_repair_needs_data_and_enough_of_it(cli: Cli) -> None:
    assert "give --data" in cli("quantize", "net.tflite", "--max-drop", "1%").err
    answer = cli("quantize", "net.tflite", "--data", "x.npy", "--samples", "10", "--max-drop", "1%")
    assert answer.code == 4
    assert "7 samples are left to tune on beside the 10 to calibrate on" in answer.err


def test_diagnosis_is_written_beside_integer_files(cli: Cli, place: Path) -> None:
    answer = cli("quantize", "net.tflite", "--data", "x.npy", "--as", "int8,float16", "--diagnose", "-o", "out")
    assert answer.code == 0, answer.err
    assert {path.name for path in (place / "out").glob("*.debug.*")} == {"net.int8.debug.csv", "net.int8.debug.json"}
    rows = json.loads((place / "out" / "net.int8.debug.json").read_text())["operators"]
    assert {"CONV_2D", "FULLY_CONNECTED"} <= {row["operator"] for row in rows}
    assert (place / "out" / "net.int8.debug.csv").read_text().count("\n") == len(rows) + 1
    assert "wrote out/net.int8.debug.csv" in answer.err


def test_diagnosis_of_a_batch_is_that_of_single_samples(cli: Cli, place: Path) -> None:
    """Written beside the file, and by `tersor debug` for it, which reads the Keras file for the same batch."""
    keras, data = DEMO.with_suffix(".keras"), DEMO_DATA
    given = ("--data", data, "--rescale", "1/255")
    for size in ("1", "4"):
        answer = cli(
            "quantize", keras, *given, "--as", "int8", "--diagnose", "--batch-size", size, "-o", f"b{size}.tflite"
        )
        assert answer.code == 0, answer.err
        assert "shift" not in answer.err, "its biases are corrected"
    assert cli("debug", keras, "b4.tflite", *given, "--csv", "b4.again.csv").code == 0
    single, batched, again = (
        list(csv.DictReader((place / name).read_text().splitlines()))
        for name in ("b1.debug.csv", "b4.debug.csv", "b4.again.csv")
    )
    assert len(single) > 20
    assert [row["tensor"] for row in single] == [row["tensor"] for row in batched] == [row["tensor"] for row in again]
    for key in ("own_mse", "total_mse", "total_clipped"):
        figures = [np.array([float(row[key]) for row in rows]) for rows in (single, batched, again)]
        assert np.allclose(figures[0], figures[1], rtol=1e-5)
        assert np.array_equal(figures[1], figures[2])
    answer = cli("debug", DEMO, "b4.tflite", *given)
    assert answer.code == 3
    assert "takes 4 samples at once, and the float model 1: compare it with one for the same batch" in answer.err


# -- the how-to says what works


@pytest.fixture
def how_to(place: Path) -> str:
    """The how-to, with the files that it speaks of in the working folder."""
    for name in ("fashion_mnist.keras", "fashion_mnist_calibration.npz"):
        shutil.copy(DEMO.with_name(name), place)
    return (DEMO.parents[1] / "docs" / "how-to" / "repair.md").read_text("utf-8")


def test_commands_of_the_how_to_make_the_same_file_twice(how_to: str, place: Path, cli: Cli) -> None:
    made = []
    for command in re.findall(r"^\$ tersor (.*)$", how_to, re.MULTILINE):
        answer = cli(*shlex.split(command))
        assert answer.code == 0, answer.err
        made.append((place / "fashion_mnist.int8.tflite").read_bytes())
    assert len(made) == 2
    assert made[0] == made[1]


def test_program_of_the_how_to(how_to: str, place: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", how_to, re.DOTALL)
    exec(compile(code, "repair.md", "exec"), {"__name__": "how_to"})
    assert (place / "net.int8.tflite").exists()
    assert load_recipe(place / "net.int8.recipe.toml").name == "int8"


def test_how_to_names_every_rung_and_verdict(how_to: str) -> None:
    rows = {row.split(",")[0] for row in re.findall(r"^\| ([\w -]+,?[\w -]*) \|", how_to, re.MULTILINE)}
    assert {rung.name.partition(":")[0] for rung in LADDER} <= rows
    assert {verdict.value for verdict in Verdict} <= rows
    ways = {item.name for name in ("int8", "int8_w4") for item in widenings(load_recipe(name), None)}
    assert all(name in how_to for name in ways)
