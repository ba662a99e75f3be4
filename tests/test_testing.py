"""Laws of torchdiff.testing: what is right passes, and each fault is found by the law that it breaks and no other."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bad import sdes, solvers
from instances import SDE_SPECS, SOLVER_SPECS

import torchdiff
from torchdiff import get_sde, get_solver
from torchdiff.cli import main
from torchdiff.errors import LawError, OptionError, TorchdiffError, UnknownNameError
from torchdiff.registry import SDES
from torchdiff.testing import Report, check_sde, check_solver
from torchdiff.testing.apart import END, check_apart
from torchdiff.testing.numeric import derivative, integral
from torchdiff.testing.order import richardson
from torchdiff.testing.target import load

TESTS = Path(__file__).parent
ENDS, OUTSIDE, INVERSE = "levels are finite at both ends", "times outside are refused", "at inverts half_log_snr"
COMPOSE, MARGINAL = "transitions compose", "transition from the data gives the marginal"
SLOPES, DIGITS, RATES = "drift and noise match the marginals", "short spans keep their digits", "rates are derivatives"
VALUE, SPEC = "it is a value", "its spec reads back"
ORDER, TOO_LOW, PLAN = "weak order", "no order is declared too low", "the plan is the formula"
MIXTURE, STRONG = "order on a mixture", "strong order"
SHAPE, BATCH = "shape and dtype are those of x", "samples do not depend on their batch"
REPEATS, RANDOM = "a step repeats itself", "the global random state stays"
HONEST, CALLS = "deterministic and draws are honest", "calls are honest"

BAD_SDES = {
    sdes.WrongDrift: {SLOPES},
    sdes.WrongNoise: {SLOPES, DIGITS},
    sdes.WrongCovariance: {MARGINAL, DIGITS},
    sdes.DoesNotCompose: {COMPOSE, MARGINAL, DIGITS},
    sdes.WrongInverse: {INVERSE},
    sdes.WrongRates: {RATES},
    sdes.InfiniteAtTheData: {ENDS, COMPOSE, MARGINAL, INVERSE},  # it has no log-SNR there, from which two are made
    sdes.NoiseAtTheData: {ENDS},
    sdes.TakesAnyTime: {OUTSIDE},
    sdes.WrongPrior: {"the prior is near the law at t_max"},
    sdes.NoValue: {VALUE},
    sdes.LosesDigits: {DIGITS},
}
BAD_SOLVERS = {
    solvers.WrongOrder: {ORDER, MIXTURE},
    solvers.WrongOrderOnTensors: {ORDER, MIXTURE},
    solvers.WrongKutta: {ORDER, MIXTURE},
    solvers.OnlyOnLinear: {MIXTURE},
    solvers.WrongWeight: {ORDER, MIXTURE},
    solvers.TooLow: {TOO_LOW},
    solvers.TooStrong: {STRONG},
    solvers.NotDeterministic: {HONEST},
    solvers.WrongCalls: {CALLS, PLAN},  # which refuses to run
    solvers.RemembersInVain: {"memory is honest"},
    solvers.ReadsNoMemory: {"memory is honest"},
    solvers.WritesIntoX: {"a step writes into nothing it was given"},
    solvers.DrawsByItself: {HONEST, RANDOM, REPEATS, BATCH, PLAN},
    solvers.SeedsTheWorld: {RANDOM},
    solvers.HasAMind: {REPEATS, BATCH, PLAN, MIXTURE},
    solvers.OtherShape: {SHAPE, PLAN, "it reaches alpha = 0 and sigma = 0", ORDER, MIXTURE},
    solvers.OtherDtype: {SHAPE, PLAN, MIXTURE},
    solvers.MixesTheBatch: {BATCH},
    solvers.TwoFaces: {PLAN, MIXTURE},
    solvers.InfiniteAtSeven: {"weights are finite"},
    solvers.NotAtTheEnds: {"it reaches alpha = 0 and sigma = 0"},
    solvers.FitsNothing: {"it accepts a process"},
    solvers.NoValue: {VALUE},
}


def quick(solver, on=("vp",)) -> Report:
    """512 steps: on VP the slopes of fourth order are then 0.043 short at most, of the 0.05 that they may be."""
    return check_solver(solver, on, finest=512)


@pytest.mark.parametrize("sde", [*SDE_SPECS, sdes.Right()], ids=str)
def test_right_processes_pass(sde):
    """Every built-in one, and the control of the bad ones."""
    assert check_sde(sde)


@pytest.mark.parametrize("sde", BAD_SDES, ids=lambda cls: cls.__name__)
def test_a_wrong_process_fails_its_law(sde):
    """One fault, and exactly the laws that it breaks."""
    assert set(check_sde(sde()).failed) == BAD_SDES[sde]


def test_a_spec_that_does_not_read_back_is_found(monkeypatch):
    """An option that the object does not keep as it was given: get(spec(x)) is another x."""
    monkeypatch.setitem(SDES._names, sdes.WrongSpec, "wrong_spec")
    monkeypatch.setitem(SDES._classes, "wrong_spec", sdes.WrongSpec)
    assert check_sde("wrong_spec").failed == (SPEC,)


@pytest.mark.parametrize("solver", SOLVER_SPECS)
def test_built_in_solvers_pass(solver):
    """All laws on VP, the flow and CLD; but for the one that says it takes norms over the batch."""
    report = check_solver(solver, ("vp", "flow", "cld"), finest=32)
    # at 32 steps orders are a blur: test_order.py, test_mixture_order.py and test_strong_order.py measure with more;
    # test_ends.py has the plans of more steps
    assert set(report.failed) - {ORDER, TOO_LOW, MIXTURE, STRONG} == ({BATCH} if "norm=batch" in solver else set())


RIGHT = [solvers.Right(), solvers.OnTensors(), solvers.Kutta(), solvers.Nonlinear()]


@pytest.mark.parametrize("solver", RIGHT, ids=repr)
def test_right_solvers_pass(solver):
    """The controls of the bad ones: affine steps of order 1 and 4, a linear one on tensors, one that is not."""
    report = quick(solver)
    assert report
    assert (ORDER in report.skipped) is isinstance(solver, solvers.Nonlinear)
    if ORDER in report.skipped:
        assert "because its step is not linear in x" in str(report)


@pytest.mark.parametrize("solver", BAD_SOLVERS, ids=lambda cls: cls.__name__)
def test_a_wrong_solver_fails_its_law(solver):
    """One fault, and exactly the laws that it breaks."""
    assert set(quick(solver()).failed) == BAD_SOLVERS[solver]


def test_numbers_that_are_none_do_not_pass_for_small():
    """A step that gives nan to a sample alone breaks the law of the batch: max(0, nan) is 0 in Python."""

    class NoneAlone(solvers.OnTensors):
        def step(self, x, span, predict, noise):
            return super().step(x, span, predict, noise) * (1.0 if len(x) > 1 else math.nan)

    (finding,) = (f for f in quick(NoneAlone()).findings if f.law == BATCH)
    assert (finding.status, finding.measured) == ("FAILED", "inf")


def test_calls_beside_in_the_first_step_are_counted():
    """reversible_heun calls the network twice in its first step and declares it by `opening`; without that it fails."""
    from torchdiff.solvers.torchsde import TorchSDE

    class Silent(TorchSDE):
        opening = 0

    verdicts = {kind: quick(kind("reversible_heun")).failed for kind in (TorchSDE, Silent)}
    assert CALLS not in verdicts[TorchSDE]
    assert "memory is honest" not in verdicts[TorchSDE]
    assert CALLS in verdicts[Silent]


def test_a_linear_step_on_tensors_has_the_slopes_of_its_plan():
    """The exact map found with unit vectors on tensors is that of the plan, noise and all, on one block and on two."""
    from torchdiff.denoiser import Denoiser
    from torchdiff.gaussian import push
    from torchdiff.planner import request
    from torchdiff.testing import linear

    for sde, solver, prediction in (("vp", "ddim:eta=0.5", "v"), ("vp", "dpmpp_2m", "eps"), ("cld", "sscs", "score")):
        denoiser = Denoiser(None, prediction)
        ends = dict(times=None, grid=None, t_min=0.1, t_max=0.9, final="t_min")
        wish = request(sde, solver, denoiser, steps=9, calls=None, **ends)
        got = linear.push(wish, prediction, (0.05, 2.0), 0.3)
        for a, b in zip(got, push(wish.trace(denoiser), (0.05, 2.0), 0.3), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)  # values near 1, a hundred roundings


def test_the_numeric_derivative_and_integral_are_exact():
    """d/dt e^t and sqrt(t), near the end where it is singular too; and integrals of powers over a span of 1e-12."""
    for function, slope in ((math.exp, math.exp), (math.sqrt, lambda t: 0.5 / math.sqrt(t))):
        for t in (0.01, 0.3, 0.9):
            assert derivative(function, t, 0.0, 1.0) == pytest.approx(slope(t), rel=1e-12)
    low, high = 0.3, 0.3 + 1e-12
    for power in range(4):
        exact = (high - low) ** (power + 1) / (power + 1)
        got = integral(lambda t, power=power: (high - t) ** power, low, high)
        assert got == pytest.approx(exact, rel=1e-14)


def test_the_slope_has_its_first_error_taken_out():
    """Errors C / N + D / N^2 have slopes p(N) = 1 + D / 2CN + ..., of which 2 p(N) - p(N / 2) leaves O(1 / N^2)."""
    errors = [1.0 / n + 20.0 / n**2 for n in (1024, 2048, 4096)]
    assert richardson(errors) == pytest.approx(1.0, abs=2e-4)  # 2 (20 / 2048)^2; the raw slope is 3.5e-3 off


def test_a_report_says_what_was_measured_beside_what_was_declared():
    """assert report, raise_if_failed, the table and the JSON agree; what failed is the first that one sees."""
    report = quick(solvers.WrongOrder)
    assert not report
    with pytest.raises(LawError, match="weak order"):
        report.raise_if_failed()
    line = next(line for line in repr(report).splitlines() if line.startswith("FAILED  weak order"))
    assert re.search(r"covariance (0\.99|1\.0)", line)  # first order, to the blur of 512 steps
    assert "weak_order = 2" in line
    facts = json.loads(json.dumps(report.facts()))
    assert facts["failed"] == list(report.failed)
    assert {f["status"] for f in facts["findings"]} == {"ok", "FAILED", "not measured"}
    right = quick("ddim")
    assert right.raise_if_failed() is right
    assert str(right).splitlines()[-1].startswith("solver ddim: no law fails; not measured in every case: strong order")


def test_what_is_no_solver_is_refused():
    """A wrong name or thing is an error of the request, not a law that fails."""
    for wrong in ("ddimm", "vp"):
        with pytest.raises(UnknownNameError):
            check_solver(wrong)
    with pytest.raises(OptionError):
        check_sde(3)


# --- targets and processes ---


@pytest.fixture
def path(monkeypatch):
    """Other processes find tests/bad."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(torchdiff.__file__).parents[1]), str(TESTS)]))


def test_a_target_is_a_name_or_a_place():
    """Registered names with options, package.module:attribute with options, of a class or an object."""
    assert load("ddim:eta=0.5", None) == get_solver("ddim:eta=0.5")
    assert load("vp", "sde") == get_sde("vp")
    assert load("torchdiff.solvers.ddim:DDIM:eta=0.5", None) == get_solver("ddim:eta=0.5")
    assert load("torchdiff.solvers.chain:DEFAULT_PREDICTOR", None) == get_solver("ddpm")
    assert type(load("bad.sdes:Right", None)) is sdes.Right


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("nothing_like_it", None, "unknown solver 'nothing_like_it'.*sdes: .*vp.*package.module:attribute"),
        ("ddim", "sde", "unknown sde 'ddim'"),
        ("ddim:eta", None, "option 'eta' has no value"),
        ("bad.sdes:Nothing", None, "bad.sdes:Nothing does not load: AttributeError"),
        ("bad.raises:X", None, "bad.raises:X does not load: RuntimeError: no luck today"),
        ("bad.exits:X", None, "bad.exits:X does not load: SystemExit: 0"),
        ("math:pi", None, "expected a LinearSDE or a Solver: a class or an object"),
        ("bad.sdes:Right", "solver", "expected a Solver"),
    ],
)
def test_a_target_that_is_none_is_named(text, kind, message):
    """The message says what came, why it does not do, and what would."""
    with pytest.raises(TorchdiffError, match=message):
        load(text, kind)


def test_a_name_of_both_kinds_is_asked_about(monkeypatch):
    """It is not guessed which is meant."""
    monkeypatch.setitem(SDES._classes, "ddim", sdes.Right)
    with pytest.raises(OptionError, match="'ddim' is an sde and a solver; say which: --kind sde, or --kind solver"):
        load("ddim", None)
    assert load("ddim", "solver") == get_solver("ddim")


@pytest.mark.parametrize("module", ["raises", "exits"])
def test_a_plugin_that_ends_its_import_fails_a_law(path, module):
    """The check goes on to a report: exit code 0 at import is no success."""
    report = check_apart(f"bad.{module}:X")
    assert report.failed == ("it loads and is built",)
    assert {"raises": "RuntimeError: no luck today", "exits": "SystemExit: 0"}[module] in str(report)


def test_a_plugin_that_hangs_at_import_is_stopped(path, tmp_path, monkeypatch):
    """At the timeout the process is killed with all that it started."""
    monkeypatch.setenv("BAD_CHILD", str(tmp_path / "child"))
    report = check_apart("bad.hangs:X", timeout=4.0)
    assert report.failed == (END,)
    assert report.findings[-1][1:3] == ("it loads and is built", "still running after 4 s")
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    deadline = time.monotonic() + 10.0
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("name", "ended"), [("HangsInAStep", "still running after 8 s"), ("DiesInAStep", "exit code 3")]
)
def test_a_step_that_hangs_or_dies_is_found(path, name, ended):
    """The report says in which law it was; those before it are kept."""
    report = check_apart(f"bad.solvers:{name}", sdes=("vp",), timeout=8.0)
    assert report.failed == (END,)
    last = report.findings[-1]
    assert (last.case, last.measured) == (HONEST, ended)
    assert report.findings[0].law == "it accepts a process"


def test_the_command_prints_a_report(path, capsys):
    """Exit code 0 where no law fails, 1 where one does, 2 for what names nothing; --json is the report."""
    assert main(["check", "bad.sdes:Right"]) == 0
    assert "sde Right(t_min=0.001, t_max=5.0): no law fails" in capsys.readouterr().out
    assert main(["check", "bad.sdes:WrongDrift", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["ok"], facts["failed"]) == ("sde", False, [SLOPES])
    assert main(["check", "nothing_like_it"]) == 2
    assert "unknown solver" in capsys.readouterr().err
    assert main(["check", "vp", "--timeout", "0"]) == 2
    assert "seconds above 0" in capsys.readouterr().err


def test_it_needs_no_test_framework():
    """torchdiff.testing is for any runner: it loads neither pytest nor hypothesis; the face loads it when asked."""
    program = """
import sys, torchdiff
assert "torchdiff.testing" not in sys.modules
assert torchdiff.testing.check_sde("vp")
assert not {"pytest", "hypothesis", "scipy"} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
