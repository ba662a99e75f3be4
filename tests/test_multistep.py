"""How multistep methods begin and end, and what their options refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest

import torchdiff
from torchdiff.errors import OptionError
from torchdiff.testing.order import Case, slopes

STEPS = 6


def plan(solver, **words):
    return torchdiff.plan("vp", solver, **{"steps": STEPS, "prediction": "x0", "final": "t_min"} | words)


@pytest.mark.parametrize(
    ("solver", "single"),
    [
        ("dpmpp_2m", "dpmpp_2s"),
        ("dpmpp_2m:variant=taylor", "dpmpp_2s:variant=taylor"),
        ("dpmpp_3m", "dpmpp_2s:variant=taylor"),
        ("unip:order=3", "dpmpp_2s:variant=taylor"),
        ("dpmpp_2m_sde", "seeds_2"),
        ("dpmpp_3m_sde:eta=0.5", "seeds_2:eta=0.5"),
        ("sa_solver", "seeds_2"),
        ("sa_solver:corrector=0,tau=0.5", "seeds_2:eta=0.25"),
    ],
)
def test_a_single_start_is_the_single_step(solver, single):
    """start="single" takes one call more, and the first step has the weights of the single-step method."""
    begun = plan(f"{solver}{',' if ':' in solver else ':'}start=single")
    assert begun.calls == plan(solver).calls + 1
    ours, theirs = (p.items[:2] for p in (begun, plan(single)))
    for a, b in zip(ours, theirs, strict=True):
        assert (a.at, a.draws) == (b.at, b.draws)
        np.testing.assert_allclose(a.weights[0], b.weights[0], rtol=1e-14)
        np.testing.assert_allclose(a.noise[0], b.noise[0], rtol=1e-14)


@pytest.mark.parametrize(("solver", "calls"), [("deis:order=4", 2 + 2), ("lms:order=4", 2 + 2), ("lms:order=2", 1)])
def test_a_start_of_order_4_has_two_steps_of_order_3(solver, calls):
    """Single steps of one order less, two at least, as long as there are fewer predictions than that order."""
    assert plan(f"{solver},start=single").calls == STEPS + calls


@pytest.mark.parametrize(
    ("solver", "last"),
    [
        ("dpmpp_2m", "ddim"),
        ("dpmpp_3m", "ddim"),
        ("dpmpp_3m:compat=diffusers", "ddim"),
        ("unip:order=3", "ddim"),
        ("deis:order=4", "ddim"),
        ("dpmpp_2m_sde", "ddpm"),
        ("dpmpp_3m_sde:eta=0", "ddim"),
        ("sa_solver:corrector=0", "ddpm"),
    ],
)
def test_the_last_step_of_lower_final_is_of_one_prediction(solver, last):
    """lower_final=true: the last step is DDIM's or DDPM's, the one before it has two predictions at most."""
    ended, plain = plan(f"{solver}{',' if ':' in solver else ':'}lower_final=true"), plan(last)
    ours, theirs = ([*p.items[-1].weights[0], *p.items[-1].noise[0]] for p in (ended, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)  # basis "t" of deis is a quadrature
    assert len(ended.items[-2].reads) <= 3  # x and two predictions


# from the middle of VP, where a start shows; the slopes at 512 steps lie within 0.15 of the order that is declared
@pytest.mark.parametrize(
    ("solver", "order"),
    [
        ("dpmpp_2m:start=single,variant=taylor", 2),
        ("dpmpp_2m:lower_final=true", 2),
        ("dpmpp_3m:start=single", 3),
        ("dpmpp_3m:start=single,lower_final=true", 2),
        ("dpmpp_3m:start=single,compat=k_diffusion", 2),
        ("dpmpp_2m_sde:start=single,lower_final=true", 2),
        ("dpmpp_3m_sde:start=single,eta=0", 3),
        ("dpmpp_3m_sde:compat=diffusers", 1),
        ("unip:order=3,start=single", 3),
        ("unip:order=3,start=single,lower_final=true", 2),
        ("unipc:lower_final=true", 2),
        ("deis:order=3,start=single,basis=rho", 3),
        ("deis:order=3,start=single,lower_final=true", 2),
        ("lms:order=3,start=single", 3),
        ("sa_solver:tau=0,corrector=0,start=single", 3),
        ("sa_solver:tau=0,lower_final=true", 2),
        ("sa_solver:predictor=2,corrector=2,compat=diffusers,tau=0", 2),
    ],
)
def test_options_declare_the_order_that_they_leave(solver, order):
    """A first-order step at an end leaves order 2, a compat what its formula has."""
    solver = torchdiff.get_solver(solver)
    assert solver.weak_order == order
    found = slopes(solver, Case(torchdiff.get_sde("vp"), 0.5, 0.05), 512)
    assert abs(found.covariance - order) < 0.15


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("unip:order=1,start=single", "order 1 has no start"),
        ("deis:order=1,start=single", "order 1 has no start"),
        ("lms:order=1,start=single", "order 1 has no start"),
        ("sa_solver:predictor=1,corrector=0,start=single", "order 1 has no start"),
        ("dpmpp_2m:start=first", "start is 'lower' or 'single', got 'first'"),
        ("dpmpp_2m:variant=heun", "variant is 'midpoint' or 'taylor', got 'heun'"),
        ("dpmpp_3m_sde:compat=diffusers,eta=0.5", "diffusers has eta = 1 only, got 0.5"),
        ("sa_solver:compat=k_diffusion", "compat is 'diffusers' or none, got 'k_diffusion'"),
        ("unipc:start=single", "has no option 'start'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(spec, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        torchdiff.get_solver(spec)
