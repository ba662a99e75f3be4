"""The analysis of a solver: its order is the declared one, its numbers are those of the plan, its words can be read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import torchdiff
from torchdiff import analyze, gaussian
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.spectra import spectrum


@pytest.mark.parametrize(
    ("sde", "solver"),
    [("vp", "ddim"), ("vp", "dpmpp_2m"), ("vp", "heun"), ("vp", "unipc"), ("vp", "euler_maruyama"), ("cld", "sscs_2m")],
)
def test_the_local_order_is_the_declared_one(sde, solver):
    """On a uniform grid where all coefficients are smooth, the slope of the steps' part from 256 to 512 steps."""
    found = analyze(
        sde, solver, steps=(256, 512), grid="uniform", t_max=0.98, t_min=0.1, final="t_min", spectrum=[0.05, 0.25, 2.0]
    )
    assert math.isnan(found.rows[0].order)
    # 0.03: at 512 steps the slope of these is within 0.02 of its limit; the next order is 1 away
    assert found.rows[1].order == pytest.approx(torchdiff.get_solver(solver).weak_order, abs=0.03)


def test_rows_are_the_plans_numbers():
    """Of each row W2, KL and parts are those of the plan on the spectrum; --calls finds the steps."""
    found = analyze("vp", "heun", calls=[5, 9], grid="karras", spectrum="power:count=32")
    data = spectrum("power:count=32")
    assert [(row.plan.steps, row.plan.calls) for row in found.rows] == [(2, 5), (4, 9)]
    for row in found.rows:
        plan = torchdiff.plan("vp", "heun", steps=row.plan.steps, grid="karras")
        assert row.w2 == gaussian.w2(plan, *data)
        assert row.kl == gaussian.kl(plan, *data)
        assert row.relative == row.w2 / math.sqrt(data.variance.sum())


def test_the_json_has_every_eigenvalue():
    """All parts of each eigenvalue, so that a plot of error against frequency needs nothing else; no nan."""
    found = analyze("vp", "ddim", steps=[3, 6], spectrum="power:count=5")
    facts = json.loads(found.to_json())
    assert facts["solver"] == "ddim"
    assert len(facts["eigenvalues"]) == 5
    first, second = facts["rows"]
    assert first["order"] is None
    assert 0.0 < second["order"] < 2.0
    added = sum(np.array(second[part]["deviation"]) for part in ("prior", "steps", "end"))
    assert added == pytest.approx(second["total"]["deviation"], abs=1e-15)
    assert second["times"][-1] == 0.0


@pytest.mark.parametrize("count", [1, 2, 5, 256, 784])
def test_bands_hold_every_eigenvalue_once(count):
    """The columns of the table go from the first eigenvalue to the last without a gap."""
    found = analyze("vp", "ddim", steps=2, spectrum=f"power:count={count}")
    numbers = [i for low, high in found.bands() for i in range(low, high + 1)]
    assert numbers == list(range(1, count + 1))
    assert f"1-{count}" not in str(found)
    assert str(found).count("\n") > 6


def test_a_band_without_variance_has_no_relative_error():
    """Data that does not vary somewhere: KL is infinite, said so, and no ratio to nothing is printed."""
    text = str(analyze("vp", "ddpm", steps=4, spectrum=[1.0, 0.0]))
    assert " inf " in text
    assert "does not vary" in text
    assert text.splitlines()[5].rstrip().endswith("-")


def test_what_cannot_be_analysed_is_named():
    """Solvers that are no weighted sum, and words that say nothing or too much."""
    with pytest.raises(IncompatibleError, match="needs sampling"):
        analyze("vp", "predictor_corrector", steps=4)
    with pytest.raises(IncompatibleError, match="needs sampling"):
        analyze("vp", "rk45", steps=4)
    for words in ({}, dict(steps=3, calls=3)):
        with pytest.raises(OptionError, match="one of steps and calls"):
            analyze("vp", "ddim", **words)
    for steps in ([], [0], [2.5], "3"):
        with pytest.raises(OptionError, match="steps"):
            analyze("vp", "ddim", steps=steps)
