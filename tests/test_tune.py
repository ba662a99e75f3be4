"""The recommendation: the front is not beaten, the chosen one is on it, what is written is read back as it was."""

from __future__ import annotations

import json

import pytest

import torchdiff
from torchdiff.errors import IncompatibleError, OptionError, StorageError, TorchdiffError, UnknownNameError
from torchdiff.tune import export, optimal_times, recommend, sigmas_of
from torchdiff.tune.front import Candidate, pareto

WORDS = dict(solvers=["ddim", "dpmpp_2m", "heun"], calls=(4, 8), spectrum="power:count=16")


@pytest.fixture(scope="module")
def tuned():
    return recommend("vp", **WORDS)


def test_nothing_beats_the_front(tuned):
    """No candidate has fewer calls and less error than one of the front; the front is what remains of them."""
    for one in tuned.candidates:
        above = [other for other in tuned.front if other.calls <= one.calls and other.error <= one.error]
        assert one in tuned.front or above
    for a in tuned.front:
        assert not [b for b in tuned.candidates if (b.calls <= a.calls and b.error < a.error)]
    assert [one.calls for one in tuned.front] == sorted({one.calls for one in tuned.front})


def test_optimal_grids_lead_where_they_were_computed(tuned):
    """Of one solver and as many calls none has less error than its optimal grid, whose objective the error is."""
    leaders = [one for one in tuned.candidates if one.grid.startswith("optimal")]
    assert {one.solver for one in leaders} >= {"dpmpp_2m"}
    for leader in leaders:
        same = [one for one in tuned.candidates if (one.solver, one.asked) == (leader.solver, leader.asked)]
        assert leader.error == min(one.error for one in same)
        plan = torchdiff.plan("vp", leader.solver, times=leader.times)
        assert (plan.steps, plan.calls) == (leader.steps, leader.calls)
        assert leader.calls <= leader.asked


def test_quality_and_budget(tuned):
    """Without either the best of the front; a budget allows no more; a quality takes the fewest calls that reach it."""
    assert tuned.best == tuned.front[-1]
    assert recommend("vp", **WORDS, budget=4).best.calls <= 4
    first, last = tuned.front[0], tuned.front[-1]
    assert first.calls < last.calls
    assert recommend("vp", **WORDS, quality=1.01 * first.error).best == first
    assert recommend("vp", **WORDS, quality=1.01 * last.error).best == last
    with pytest.raises(OptionError, match="is not reached; allow more calls"):
        recommend("vp", **WORDS, quality=0.5 * last.error)


def test_the_front_of_ties_is_the_first():
    """Of equal errors the fewer calls stand on the front alone; of equal calls the lesser error."""
    made = [
        Candidate("a", "g", 1, 5, calls, error, 0.0, ()) for calls, error in ((5, 0.2), (4, 0.2), (4, 0.3), (6, 0.1))
    ]
    assert [(one.calls, one.error) for one in pareto(made)] == [(4, 0.2), (6, 0.1)]


def test_who_is_left_out_is_said():
    """Patterns leave out what does not fit or needs sampling, with the reason; a name that nobody has is an error."""
    found = recommend("cld", solvers=["sscs", "d*im", "predictor_corrector"], grids=["uniform"], calls=[4])
    assert found.best.solver == "sscs"
    assert "do not run" in found.left_out["ddim"]
    assert set(found.left_out) == {"ddim", "predictor_corrector"}
    assert "take sscs on grid uniform with 3 steps, 4 network calls" in str(found)
    assert json.loads(found.to_json())["best"]["times"][0] == 1.0
    with pytest.raises(UnknownNameError, match="did you mean"):
        recommend("vp", solvers=["dimm"])
    with pytest.raises(OptionError, match="no solver is like"):
        recommend("vp", solvers=["zz*"])
    with pytest.raises(OptionError, match="can be measured"):
        recommend("cld", solvers=["ddim"], calls=[4])
    with pytest.raises(OptionError, match="quality or budget"):
        recommend("vp", **WORDS, quality=0.1, budget=3)
    for quality in (0.0, -1.0, float("nan")):
        with pytest.raises(OptionError, match="above 0"):
            recommend("vp", **WORDS, quality=quality)


@pytest.mark.parametrize("name", ["x.json", "x.txt"])
def test_exported_numbers_are_the_same_floats(tmp_path, name):
    """Times and sigmas come back bit for bit, and make the plan that they came from."""
    times = optimal_times("vp", "dpmpp_2m", steps=4)
    sigmas = sigmas_of("vp", times)
    for numbers in (times, sigmas):
        text = export(tmp_path / name, numbers).read_text()
        read = json.loads(text) if name.endswith("json") else [float(line) for line in text.split()]
        assert tuple(read) == numbers
    plans = [torchdiff.plan("vp", "dpmpp_2m", **words) for words in (dict(times=times), dict(sigmas=[*sigmas, 0.0]))]
    # sigmas are read as the time whose sigma / alpha comes nearest, which may be an ulp away
    assert [level.t for level in plans[1].grid] == pytest.approx([level.t for level in plans[0].grid], rel=1e-13)


def test_what_cannot_be_exported_is_named(tmp_path):
    """Sigmas of blocks and at alpha = 0; a file of another kind; nothing."""
    with pytest.raises(IncompatibleError, match="2 blocks and no such number; take times"):
        sigmas_of("cld", (1.0, 0.5))
    with pytest.raises(IncompatibleError, match="infinite at t = 1"):
        sigmas_of("flow", (1.0, 0.5))
    with pytest.raises(StorageError, match=r"\.json or \.txt"):
        export(tmp_path / "x.csv", (1.0,))
    with pytest.raises(TorchdiffError, match="nothing to export"):
        export(tmp_path / "x.json", ())
