"""The solver "auto": the way that the evidence names, and nothing else; and the evidence is still what is measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import torchdiff
from benchmarks import auto as choosing
from benchmarks import ways as bench_ways
from torchdiff import auto, bench
from torchdiff.cli import main
from torchdiff.errors import DuplicateNameError, IncompatibleError, OptionError, UnknownNameError
from torchdiff.registry import GRIDS, SDES, SOLVERS
from torchdiff.solvers.base import check_fit
from torchdiff.tune.search import MOST

ROWS = [(name, row) for name, rows in auto.ways().items() for row in rows]
TEXT = (Path(__file__).parents[1] / "docs" / "auto.md").read_text(encoding="utf-8")
# a process whose name is not in the table
BETA = torchdiff.BetaSDE(lambda t: 0.1 + 19.9 * t)
CHAIN = torchdiff.MatrixSDE(
    lambda t: ((0.0, 4.0, 0.0), (-4.0, 0.0, 4.0), (0.0, -4.0, -8.0)),
    lambda t: ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 4.0)),
    blocks=3,
)


def process(name):
    return {"one_block": BETA, "blocks": CHAIN}.get(name) or SDES.get(name)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda value: value if isinstance(value, str) else str(value[0]))
def test_each_row_runs_and_costs_what_it_says(name, row):
    """The solvers of a row run on the process, a step is one network call, and its grid has times for it."""
    sde = process(name)
    for spec in (row.solver, row.anywhere):
        solver = SOLVERS.get(spec)
        check_fit(solver, sde)
        assert (solver.calls, solver.adaptive, solver.affine) == (1, False, True)
    steps = min(row.calls, 3)  # what a grid refuses it refuses at any number
    made = torchdiff.plan(sde, row.solver, grid=row.grid, steps=steps, final="t_min")
    assert made.calls == made.steps == steps


@pytest.mark.parametrize("name", auto.ways())
def test_rows_cover_every_number(name):
    """They rise in calls; the last one has a grid with any number of times."""
    calls = [row.calls for row in auto.ways()[name]]
    assert calls == sorted(set(calls))
    assert "optimal" not in auto.ways()[name][-1].grid
    assert calls[-1] < MOST


@pytest.mark.parametrize("name", auto.OTHERS)
def test_nobody_waits_for_a_process_of_theirs(name):
    """An optimal grid is not kept where the process is somebody's code: each run would compute it anew."""
    assert "optimal" not in {row.grid for row in auto.ways()[name]}


def test_every_process_of_ours_has_rows():
    assert {*auto.ways()} == {*auto.OTHERS} | {name for name in SDES if SDES.describe(name).source == "built-in"}


@pytest.mark.parametrize(
    ("sde", "given"),
    [
        ("vp", {"steps": 5}),
        ("flow", {"calls": 9}),
        ("cld", {"steps": 12}),
        ("edm", {"steps": 300}),
        (BETA, {"steps": 5}),
    ],
)
def test_the_word_is_the_row(sde, given):
    """The plan is that of the row with the most calls that are not more than asked for, bit for bit."""
    count = next(iter(given.values()))
    name = sde if isinstance(sde, str) else "one_block"
    rows = auto.ways()[name]
    row = max((row for row in rows if row.calls <= count), key=lambda row: row.calls)
    assert torchdiff.plan(sde, "auto", **given) == torchdiff.plan(sde, row.solver, grid=row.grid, **given)
    assert torchdiff.plan(sde, **given) == torchdiff.plan(sde, " auto ", **given)


def test_few_calls_take_the_first_row():
    assert auto.way(SDES.get("vp"), 1) == auto.ways()["vp"][0]


@pytest.mark.parametrize(
    "given", [{"steps": 7, "grid": "karras"}, {"times": [1.0, 0.5, 0.1, 0.01]}, {"sigmas": iter([80.0, 5.0, 1.0, 0.0])}]
)
def test_a_grid_of_the_user_stays(given):
    """Then only the solver is chosen, that of the row for so many steps."""
    count = given.get("steps", 3)
    given = {name: list(value) if hasattr(value, "__next__") else value for name, value in given.items()}
    row = auto.way(SDES.get("vp"), count if "sigmas" not in given else 2)
    again = {name: iter(value) if name == "sigmas" else value for name, value in given.items()}
    assert torchdiff.plan("vp", "auto", **again) == torchdiff.plan("vp", row.anywhere, **given)


def test_sampling_without_a_solver():
    """sample's default is the word: the samples are those of the way, which the result's plan names."""
    net = torchdiff.get_target("gmm2d").denoiser("vp")
    row = auto.way(SDES.get("vp"), 6)
    run = {"steps": 6, "shape": (5, 2), "seed": 3}
    found = torchdiff.sample(net, "vp", **run)
    assert torch.equal(found.x, torchdiff.sample(net, "vp", row.solver, grid=row.grid, **run).x)
    assert found.plan.solver == SOLVERS.get(row.solver)


def test_the_command_needs_no_solver(capsys):
    """`torchdiff plan PROCESS` is the plan of the word."""
    assert main(["plan", "vp", "--steps", "5", "--json"]) == 0
    assert torchdiff.Plan.from_json(capsys.readouterr().out) == torchdiff.plan("vp", "auto", steps=5)


def test_data_are_encoded_where_the_solver_allows_it():
    """Rising times need a solver without noise: on one block every row has one, on `cld` the refusal names some."""
    x = torchdiff.get_target("gmm2d").sample(4)
    net = torchdiff.get_target("gmm2d").denoiser("vp")
    rising = [0.001, 0.1, 0.5, 1.0]
    assert torchdiff.sample(net, "vp", times=rising, x=x).x.shape == x.shape
    for name in set(auto.ways()) - {"cld", "blocks"}:
        assert all(SOLVERS.get(row.anywhere).deterministic for row in auto.ways()[name])
    with pytest.raises(IncompatibleError, match="deterministic ones: .*cld_exp"):
        torchdiff.plan("cld", times=rising)


def test_it_is_no_solver_by_itself():
    """Where one solver is meant, the error says what the word is; nothing can be registered under it."""
    with pytest.raises(UnknownNameError, match="'auto' is what `plan` and `sample` choose .* known: adams"):
        SOLVERS.get("auto")
    with pytest.raises(DuplicateNameError, match="'auto' .* take another name"):
        SOLVERS.register("auto")(type("Auto", (), {}))
    with pytest.raises(OptionError, match="another solver for each number of steps"):
        torchdiff.analyze("vp", "auto", steps=[5, 10])
    with pytest.raises(OptionError, match="steps must be a positive whole number"):
        torchdiff.plan("vp", "auto", steps=2.5)
    with pytest.raises(OptionError, match="give one of steps, calls"):
        torchdiff.plan("vp")


def test_the_bench_runs_it_as_one():
    """One contender whatever it takes at each budget; its samples are those of the way."""
    words = {"target": "gmm2d", "calls": (5, 20), "seeds": 0, "count": 50, "metrics": "energy"}
    rows = [auto.way(SDES.get("vp"), calls) for calls in words["calls"]]
    mine = bench.run(solvers="auto", **words)
    assert [(c["solver"], c["grid"], c["calls"]) for c in mine] == [("auto", "its own", 5), ("auto", "its own", 20)]
    assert [c["chose"] for c in mine] == [f"{row.solver} on {row.grid}" for row in rows]
    assert f"\nauto: {rows[0].solver} on {rows[0].grid} with 5 calls; {rows[1].solver} on " in bench.table(mine)
    assert (
        f"({rows[0].solver} on {rows[0].grid})"
        in bench.answer(bench.run(solvers="auto", **words | {"calls": 5})).headline
    )
    for cell, row in zip(mine, rows, strict=True):
        named = bench.run(solvers=row.solver, grids=row.grid, **(words | {"calls": cell["asked"]}))
        assert named[0]["metrics"] == cell["metrics"]
        assert named[0]["exact_w2"] == cell["exact_w2"]


# --- the evidence ---


def told(name):
    """The rows of docs/auto.md for a process, by calls."""
    part = TEXT.split(f"\n## {name}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if re.match(r"\| \d", line)]
    return {int(cells[0]): cells for cells in lines}


@pytest.mark.parametrize("name", sorted(set(auto.ways()) - {*auto.OTHERS}))
def test_the_document_is_the_data(name):
    """docs/auto.md shows the rows that are looked up."""
    rows = auto.ways()[name]
    shown = [(calls, cells[1], cells[2], cells[-1]) for calls, cells in told(name).items()]
    assert shown == [(row.calls, row.solver, row.grid, row.anywhere) for row in rows]


def test_the_document_is_what_is_measured():
    """What it says of targets that had no part in the choice comes out again, to the digits that it shows."""
    sde, row = SDES.get("vp"), auto.way(SDES.get("vp"), 8)
    made = torchdiff.plan(sde, row.solver, grid=row.grid, calls=8)
    times = tuple(level.t for level in made.grid[:-1])
    ((_, number),) = bench_ways.numbers(sde, choosing.HELD[0], {(8, "it"): (row.solver, times)})
    assert 100.0 * number == pytest.approx(float(told("vp")[8][4]), rel=0.01)  # three digits, and another machine's


def test_the_choice_is_the_least_behind():
    """A way that is best on one target and bad on another loses to one that is good on both."""
    numbers = {
        "a | uniform": dict.fromkeys(choosing.TUNED, 2.0),
        "b | uniform": dict.fromkeys(choosing.TUNED, 5.0) | {choosing.TUNED[0]: 1.0},
    }
    assert choosing.chosen({5: choosing.behind(numbers)}) == [auto.Way(5, "a", "uniform", "a")]


@pytest.mark.parametrize(("ahead", "grid"), [((0.9, 1.2), "optimal"), ((1.1, 1.2), "uniform")])
def test_an_optimal_grid_wins_a_tie(ahead, grid):
    """It is taken where the targets cannot tell it from the best: the difference is within its standard error."""
    low, high = ahead  # by how much the other is ahead, on every other target
    numbers = {
        "a | uniform": dict.fromkeys(choosing.TUNED, 1.0),
        "a | optimal": {spec: (low, high)[i % 2] for i, spec in enumerate(choosing.TUNED)},
    }
    assert choosing.chosen({5: choosing.behind(numbers)})[0].grid == grid


def test_unknown_grids_of_rows_are_noticed():
    assert all(GRIDS.get(row.grid) for _, row in ROWS)
