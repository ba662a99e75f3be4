"""Order of convergence where the network is not linear: the flow of a mixture of Gaussians, against SciPy's DOP853.

On Gaussian data the network is linear in x, and what multiplies its second derivative in an order condition is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from torchdiff.denoiser import Denoiser
from torchdiff.planner import request
from torchdiff.sde.base import Level, ScalarSDE
from torchdiff.solvers.base import Solver
from torchdiff.testing import order
from torchdiff.testing.order import COARSEST, Case
from torchdiff.testing.report import Found, held, skipped
from torchdiff.testing.walk import walk

# three modes of the plane, no two of one weight or width
WEIGHTS, VARIANCES = (0.2, 0.3, 0.5), (0.5, 0.2, 0.35)
MEANS = ((1.2, 0.3), (-0.9, 0.8), (0.1, -1.0))
STARTS, SEED = 12, 0
TOLERANCE = 3e-14  # of DOP853, which takes no less than 2.3e-14
FLOOR = 3e-13  # an error below it is not read: DOP853 and rounding are up to 2e-14 off
LIMIT = 1e-9  # how near to DOP853 the runs with ever more steps come
SETTLED = 256  # steps from which on a slope counts: superconvergent starts are over


class Mixture:
    """E[x0 | x] and E[eps | x] at a level, x (B, 2) float64."""

    def __init__(self) -> None:
        self.shares = torch.tensor(WEIGHTS, dtype=torch.float64).log()
        self.variances = torch.tensor(VARIANCES, dtype=torch.float64)
        self.means = torch.tensor(MEANS, dtype=torch.float64)

    def __call__(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        _, alpha, sigma = level
        spread = alpha**2 * self.variances + sigma**2
        away = x[:, None] - alpha * self.means  # (B, modes, 2)
        logits = self.shares - spread.log() - away.square().sum(-1) / (2.0 * spread)
        # not softmax, which starts threads for twelve rows, and waits for them on a busy machine
        share = (logits - logits.amax(1, keepdim=True)).exp()
        share = (share / share.sum(1, keepdim=True))[:, :, None]
        x0 = self.means + away * (alpha * self.variances / spread)[:, None]
        return (share * x0).sum(1), (share * away * (sigma / spread)[:, None]).sum(1)

    def start(self, level: Level) -> Tensor:
        """Some points at a level, as many of each mode."""
        draw, mode = np.random.default_rng(SEED), np.arange(STARTS) % len(WEIGHTS)
        x0 = np.array(MEANS)[mode] + np.sqrt(np.array(VARIANCES))[mode, None] * draw.standard_normal((STARTS, 2))
        return torch.from_numpy(level.alpha * x0 + level.sigma * draw.standard_normal((STARTS, 2)))


class Exact(Denoiser):
    """A denoiser whose network is the mixture's, and gets the level."""

    def __call__(self, *blocks_and_level: Any) -> tuple[Any, ...]:
        x, level = blocks_and_level
        assert isinstance(self.net, Mixture)
        (x0, eps), (u, w) = self.net(x, level), self.meaning(level)
        return (u * x0 + w * eps,)


class Slope(NamedTuple):
    """Richardson's slope of the error (nan where it is lost in rounding), how far the limit is off, the last error.

    Errors are root mean squares, in units of that of the ends.
    """

    order: float
    limit: float
    error: float


def exact(case: Case) -> Tensor:
    """The ends of the flow alpha' x0 + sigma' eps, by DOP853."""
    sde, net = case.sde, Mixture()
    assert isinstance(sde, ScalarSDE)

    def velocity(t: float, flat: Any) -> Any:
        level = sde.level(min(max(t, case.low), case.high))  # the last stage may lie an ulp beyond
        (x0, eps), (alpha, sigma) = net(torch.from_numpy(flat.reshape(STARTS, 2)), level), sde.rates(level.t)
        return (alpha * x0 + sigma * eps).numpy().ravel()

    start = net.start(sde.level(case.high)).numpy().ravel()
    ends = solve_ivp(velocity, (case.high, case.low), start, method="DOP853", rtol=TOLERANCE, atol=TOLERANCE)
    return torch.from_numpy(ends.y[:, -1].reshape(STARTS, 2).copy())


def run(solver: Solver, case: Case, steps: int) -> Tensor:
    """The ends of a deterministic solver's steps on a uniform grid, (STARTS, 2)."""
    denoiser = Exact(Mixture(), "flow")  # which says x0 and eps at every level
    wish = request(
        case.sde, solver, denoiser, steps=steps, calls=None, times=None, grid="uniform", t_min=case.low,
        t_max=case.high, final="t_min",
    )  # fmt: skip
    zero = torch.zeros(STARTS, 2, dtype=torch.float64)
    return walk(wish, denoiser, lambda key: zero, Mixture().start(wish.grid[0])).state[0]


def slope(solver: Solver, case: Case, finest: int = order.FINEST) -> Slope:
    """On 16, 32, ... steps, to SETTLED, and where order or limit do not show yet to `finest`."""
    declared, wanted = solver.weak_order, exact(case)
    unit = _size(wanted)
    assert declared is not None
    ends: list[Tensor] = []
    errors: list[float] = []
    steps = min(COARSEST, finest)
    while steps <= finest:
        ends.append(run(solver, case, steps))
        errors.append(_size(ends[-1] - wanted) / unit)
        # of an order that is declared too low the next one is taken; that it is too low is for another law to say
        off = min(_size(limit(ends, lowest) - wanted) / unit for lowest in (declared, declared + 1.0))
        found = Slope(order.slope_of(errors, FLOOR), off, errors[-1])
        if steps >= SETTLED and not found.order < declared - order.short_by(declared) and off <= LIMIT:
            break
        steps *= 2
    return found


def limit(ends: Sequence[Tensor], declared: float) -> Tensor:
    """What runs with N, 2N, ... steps tend to: Romberg's extrapolation of errors in N^-p, N^-(p + 1), ..."""
    while len(ends) > 1:
        ends = [b + (b - a) / (2.0**declared - 1.0) for a, b in pairwise(ends)]
        declared += 1.0
    return ends[0]


def _size(x: Tensor) -> float:
    return math.sqrt(float(x.square().mean()))


def mixture_order(solver: Solver, cases: Sequence[Case], finest: int = order.FINEST) -> Iterator[Found]:
    """A deterministic solver shows its order on one-block processes, and the limit of its runs is DOP853's."""
    declared = solver.weak_order
    if declared is None or solver.calls is None or not solver.deterministic:
        why = (
            "draws noise" if not solver.deterministic else "declares none" if declared is None else "chooses its steps"
        )
        yield skipped(f"it {why}")
        return
    least = declared - order.short_by(declared)
    cases = [case for case in cases if case.sde.blocks == 1]
    for case in cases:
        found = slope(solver, case, finest)
        good = not found.order < least and found.limit <= LIMIT  # an order that is nan is lost in rounding
        text = "exact" if math.isnan(found.order) else f"{found.order:.3f}"
        measured, error = f"{text}, limit {found.limit:.1g} off", f"the last error is {found.error:.2g}"
        yield held(str(case), measured, f"weak_order = {declared:g}, {LIMIT:g}", bool(good), error)
    if not cases:
        yield skipped("it runs on none of the processes given, or these have more than one block")
