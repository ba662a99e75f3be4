"""Laws of the recommendation: the fewest calls that are not told apart from the best, and no more than was compared."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from torchdiff import bench
from torchdiff.bench.cells import Cells
from torchdiff.bench.store import Store
from torchdiff.bench.versus import _across, _compared, _within
from torchdiff.metrics import Compared

METRIC = "sliced_w2:directions=8"
WORDS = {"target": "gmm2d", "metrics": METRIC, "seeds": (0, 1), "count": 200}


@pytest.fixture(scope="module")
def cells() -> Cells:
    """2 calls are far off, 12 are not told from 40, and 40 score least."""
    return bench.run(solvers="ddim,dpmpp_1", calls=(2, 12, 40), **WORDS)


def test_fewer_calls_win_where_the_data_do_not_tell_them_apart(cells):
    """12 calls, for 40 are not seen to be better, and 2 are seen to be worse; all is held against the best."""
    tied = {v["cheaper"]: v["tie"] for v in cells.across}
    assert tied == {"calls=2": False, "calls=12": True}
    assert {v["budget"] for v in cells.across} == {"calls=40"}
    said = bench.answer(cells).headline
    assert said.startswith("Take ddim with 12 calls: ")
    assert "The best measured, ddim with 40 calls, scores " in said
    assert said.endswith("Not told apart from it with 12 calls: dpmpp_1.")


def judged(cells: Cells, ties: dict[str, bool | None], **least) -> str:
    """The headline, had the comparisons come out so; None: not made. least: other fields of all of them."""
    across = [v | {"tie": tie} | least for v in cells.across if (tie := ties[v["cheaper"]]) is not None]
    return bench.answer(replace(cells, across=tuple(across))).headline


@pytest.mark.parametrize(
    ("two", "twelve", "taken"),
    [(True, True, 2), (True, False, 2), (False, True, 12), (None, True, 12), (False, False, 40), (False, None, 40),
     (None, None, 40)],
)  # fmt: skip
def test_the_answer_is_what_the_comparisons_hold(cells, two, twelve, taken):
    """Of the budgets that were compared and not told apart the least; what was not compared is not spoken of."""
    said = judged(cells, {"calls=2": two, "calls=12": twelve})
    assert said.startswith(f"Take ddim with {taken} calls")
    assert (", the best measured: it scores" in said) == (taken == 40)
    assert ("With fewer calls even the best is told apart from it" in said) == (two is False and twelve is False)


def test_more_calls_that_score_more_are_no_matter(cells):
    """Had 12 calls scored least: 2 are told apart from them, and 40 are not spoken of."""
    worse = {"value": 9.0, "low": 8.0, "high": 10.0}
    changed = [c | {"metrics": {METRIC: c["metrics"][METRIC] | worse}} if c["asked"] == 40 else c for c in cells]
    across = [v | {"budget": "calls=12", "tie": False} for v in cells.across if v["cheaper"] == "calls=2"]
    said = bench.answer(replace(cells, cells=tuple(changed), across=tuple(across))).headline
    assert said.startswith("Take ddim with 12 calls, the best measured")
    assert "With fewer calls even the best is told apart from it." in said
    assert "40" not in said


def test_what_fewer_calls_may_cost_is_said(cells):
    """best - cheaper lies in -0.5 to 0.1: the best scores 0.2 less, at most 0.5; never less than nothing."""
    ties = {"calls=2": False, "calls=12": True}
    said = judged(cells, ties, difference=-0.2, low=-0.5, high=0.1)
    assert "ddim with 40 calls, scores 0.200 less, at most 0.500" in said
    assert "scores 0 less, at most 0.500" in judged(cells, ties, difference=0.1, low=-0.5, high=0.7)


def test_a_comparison_of_others_counts_for_nothing(cells):
    """What was told of another contender, metric or budget is not told of this one."""
    for name, value in {"other": "dpmpp_1 | log_snr", "best": "heun | log_snr", "metric": "energy"}.items():
        said = judged(cells, {"calls=2": True, "calls=12": True}, **{name: value})
        assert said.startswith("Take ddim with 40 calls, the best measured")


def test_above_the_floor_the_tie_is_told_as_one():
    """Where real samples score far less, it says how far, and that the two are not told apart."""
    found = bench.run(solvers="ddim", calls=(3, 4), **WORDS)
    high = {"floor": 0.01, "floor_low": 0.005, "floor_high": 0.02}
    shrunk = [c | {"metrics": {METRIC: c["metrics"][METRIC] | high}} for c in found]
    said = judged(replace(found, cells=tuple(shrunk)), {"calls=3": True})
    assert "times what as many real samples score (0.00500 to 0.0200)" in said
    assert said.endswith(": the two are not told apart.")
    assert "as good as" not in said


def test_steps_are_told_with_what_they_cost():
    """12 steps of Heun and the last one are 25 calls."""
    found = bench.run(solvers="heun", steps=(2, 12), **WORDS)
    assert [v["cheaper"] for v in found.across] == ["steps=2"]
    assert bench.answer(found).headline.startswith("Take heun with 12 steps (25 calls), the best measured")


class Exact:
    """A gauge of numbers with normal errors of 1, whose paired test is exact; the floor is far below."""

    floor = (-99.0, -99.5, -98.5)

    def compare(self, a: float, b: float) -> Compared:
        half = 1.959964 * math.sqrt(2.0)
        return Compared(a, b, a - b, a - b - half, a - b + half, 1.0, None)


def told_apart(duels: list, store: Store) -> bool:
    return any(not _compared(Exact(), d.mine, d.theirs, d.among, store)["tie"] for d in duels)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_what_is_alike_is_told_apart_by_chance_of_5_percent(count):
    """Contenders at one budget, and budgets, that score 0 with normal errors: the best, which is chosen by looking, is
    told apart from any that it is held against 1 time in 20 at most; budgets of more calls are not held against it."""
    wrong, random, turns = [0, 0], np.random.default_rng(0), 4000 // count
    for scores in random.normal(size=(turns, count)).tolist():
        store, cells = Store(None), {}
        for number, value in enumerate(scores):
            score = {"value": value, "high": value + 99.0}
            cell = {"key": f"{number}", "seed": 0, "calls": number, "chose": "", "score": score}
            store.kept[cell["key"]] = value
            cells[f"calls={number}"] = [cell]
        across = _across(METRIC, {where: {"same": mine} for where, mine in cells.items()})
        assert {d.names["cheaper"] for d in across} == {f"calls={n}" for n in range(scores.index(min(scores)))}
        for kind, duels in enumerate((_within(METRIC, "calls=5", cells), across)):
            wrong[kind] += told_apart(duels, store)
    # Bonferroni's bound is near: three standard errors of 200 to 2000 turns
    assert wrong[0] / turns <= 0.05 + 3.0 * (0.05 * 0.95 / turns) ** 0.5
    assert wrong[0] > 0
    assert wrong[1] <= wrong[0]
