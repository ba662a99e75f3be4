"""Laws of the bridge to torchsde: its methods on our noise, our path as its Brownian motion."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
import torchsde
from instances import field

import torchdiff
from torchdiff import SDE, noise, reverse, simulate
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.interop.torchsde import BrownianPath
from torchdiff.interop.torchsde_methods import METHODS, REMEMBERS

SEED, COUNT = 3, 4000


class Theirs:
    """dX = f dt + g dW as torchsde wants it, f such that it is dX = sin X dt + g dW in the sense of Ito.

    diagonal and scalar: g = a(X) = (1 + X^2)^1/2 / 2. matrix: a(X) and b(X) = 0.3 (X_3, X_2, X_1) are its columns,
    which do not commute. additive: g = (1 + t) (I + N) / 2, N_12 = 1.
    """

    def __init__(self, kind, sde_type):
        self.kind, self.sde_type = kind, sde_type
        self.noise_type = {"matrix": "general"}.get(kind, kind)

    def f(self, t, y):
        own = {"additive": 0.0, "matrix": 0.25 + 0.09}.get(self.kind, 0.25)  # sum_j (g_j . grad) g_j = own X
        return torch.sin(y) - (0.5 * own * y if self.sde_type == "stratonovich" else 0.0)

    def g(self, t, y):
        a = 0.5 * (1.0 + y**2).sqrt()
        if self.kind == "diagonal":
            return a
        if self.kind == "additive":
            fixed = torch.eye(3, dtype=y.dtype) + torch.tensor([[0.0, 1.0, 0.0], [0.0] * 3, [0.0] * 3])
            return (0.5 * (1.0 + t) * fixed).expand(len(y), 3, 3)
        return a.unsqueeze(2) if self.kind == "scalar" else torch.stack([a, 0.3 * y.flip(1)], dim=2)


def ours(kind):
    theirs = Theirs(kind, "ito")
    squeezed = (lambda x, t: theirs.g(t, x).squeeze(2)) if kind == "scalar" else (lambda x, t: theirs.g(t, x))
    return SDE.of(lambda x, t: theirs.f(t, x), squeezed, {"additive": "matrix"}.get(kind, kind))


OURS = ours("diagonal")
WIDTH = {"scalar": 1, "matrix": 2}
# of the pairs that torchsde refuses or has not, none: its milstein and srk take no general noise
PAIRS = [
    (method, kind)
    for method in METHODS
    for kind in ("diagonal", "scalar", "matrix", "additive")
    if method not in ("milstein", "srk") or kind in ("diagonal", "scalar")
]


def start(count=5, dims=3):
    return noise.normal((count, dims), seed=9, dtype=torch.float64)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-1.0, 3.0)])
@pytest.mark.parametrize(("method", "kind"), PAIRS)
def test_one_run_of_torchsde_is_ours_step_by_step(method, kind, ends):
    """torchsde.sdeint with BrownianPath and `simulate` for the same seed and grid end in the same states.

    What reversible_heun remembers goes on from step to step; an additive equation is one of matrix noise here, with the
    same Levy areas. torchsde keeps its times in the dtype of y, float64; sixteen steps that are dyadic, so that neither
    rounds times.
    """
    t0, t1 = ends
    path = BrownianPath((5, WIDTH.get(kind, 3)), t0, t1, seed=SEED, dtype=torch.float64)
    times = [t0, (t0 + t1) / 2, t1]
    theirs = torchsde.sdeint(
        Theirs(kind, METHODS[method][0]), start(), times, bm=path, method=method, dt=(t1 - t0) / 16
    )
    name = f"torchsde:method={method}"
    bridged = simulate(ours(kind), start(), times, seed=SEED, steps=8, method=name).x
    torch.testing.assert_close(bridged, theirs, rtol=1e-12, atol=1e-12)  # sums in another order, sixteen steps
    assert not bridged.requires_grad


@pytest.mark.parametrize("method", ["euler", "milstein"])
def test_torchsde_and_our_own_methods_walk_one_path(method):
    """Its Euler and Milstein are our euler_maruyama and milstein."""
    name = {"euler": "euler_maruyama"}.get(method, method)
    runs = [
        simulate(OURS, start(), [0.0, 0.5, 1.0], seed=SEED, steps=8, method=m).x
        for m in (name, f"torchsde:method={method}")
    ]
    torch.testing.assert_close(runs[1], runs[0], rtol=1e-13, atol=1e-13)


class Backward:
    """W(-b) - W(-a) of the path of a run backward, which torchsde's clock s = -t asks for from a to b; and U."""

    levy_area_approximation = "foster"
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, shape, seed):
        self.shape, self.seed = shape, seed

    def __call__(self, ta, tb, return_U=False, return_A=False):
        made = noise.brownian(
            self.shape, [-float(ta), -float(tb)], seed=self.seed, horizon=1.0, integral=return_U, dtype=torch.float64
        )
        if return_A:
            return made[0], None
        return (made[0][0], -made[1][0]) if return_U else made[0]


class Reversed:
    """The reverse VP equation of `field` on the clock s = -t, noise diagonal: the same for every x."""

    noise_type = "diagonal"

    def __init__(self, sde_type):
        self.sde, self.sde_type = torchdiff.get_sde("vp"), sde_type

    def f(self, s, y):
        t = -float(s)
        drift, g = self.sde.drift(t)[0][0], self.sde.noise(t)[0][0]
        return g**2 * field(y, torch.full((len(y),), t, dtype=torch.float64)) - drift * y

    def g(self, s, y):
        return torch.full_like(y, self.sde.noise(-float(s))[0][0])


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("milstein", "srk")])
def test_the_solver_is_one_run_of_torchsde(method):
    """sample(..., "torchsde:method=...", noise="brownian") is torchsde.sdeint on the reverse equation and our path.

    milstein and srk have other formulas where they are not told that the noise is additive.
    """
    x, times = noise.normal((3, 4), seed=2, dtype=torch.float64), [1.0 - i / 16 for i in range(13)]
    theirs = torchsde.sdeint(
        Reversed(METHODS[method][0]), x, [-1.0, -0.25], bm=Backward((3, 4), 6), method=method, dt=1.0 / 16
    )
    options = {"seed": 6, "noise": "brownian", "prediction": "score", "final": "t_min"}
    mine = torchdiff.sample(field, "vp", f"torchsde:method={method}", times=times, x=x, **options)
    torch.testing.assert_close(mine.x, theirs[-1], rtol=1e-12, atol=1e-12)


def test_log_ode_is_midpoint_where_noise_commutes():
    """The Levy areas stand in front of brackets of the columns of g, which are zero for commuting linear noise."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)

    def g(x, t):
        return torch.stack([0.4 * x + 0.3 * x @ turn, 0.1 * x - 0.5 * x @ turn], dim=2)

    sde = SDE.of(lambda x, t: 0.3 * x, g, "matrix")
    runs = [
        simulate(sde, start(5, 2), [0.0, 1.0], seed=1, steps=8, method=f"torchsde:method={m}").x
        for m in ("log_ode", "midpoint")
    ]
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("noise_kind", ["white", "brownian"])
@pytest.mark.parametrize("method", ["euler", "heun", "log_ode", "reversible_heun"])
def test_wide_matrix_noise_does_not_depend_on_its_batch(method, noise_kind):
    """Path 7 of 12 is what first_index=7 gives by itself, bit for bit: torch.bmm would differ for 20 by 20 matrices."""
    sde = SDE.of(lambda x, t: -x, lambda x, t: 0.1 * (1.0 + x.unsqueeze(2) * x.unsqueeze(1)), "matrix")
    x0, options = start(12, 20), {"seed": 3, "steps": 2, "method": f"torchsde:method={method}", "noise": noise_kind}
    whole = simulate(sde, x0, [0.0, 0.1], **options).x
    assert torch.equal(simulate(sde, x0[7:8], [0.0, 0.1], first_index=7, **options).x[:, 0], whole[:, 7])


def test_the_path_is_our_path():
    """W over an interval, its integral, W(t) alone and zero lengths are those of noise.brownian, in any order."""
    path = BrownianPath((4, 2), 1.0, 3.0, seed=SEED, first_index=5, path=2, dtype=torch.float64)
    w, u = noise.brownian(
        (4, 2), [0.5, 1.25], seed=SEED, horizon=2.0, first_index=5, path=2, integral=True, dtype=torch.float64
    )
    late = path(2.0, 3.0)
    assert torch.equal(path(1.5, 2.25), w[0])
    assert all(torch.equal(a, b[0]) for a, b in zip(path(1.5, 2.25, return_U=True), (w, u), strict=True))
    torch.testing.assert_close(path(1.0, 2.0) + late, path(3.0), rtol=0.0, atol=1e-14)
    assert torch.equal(path(2.0, 2.0), torch.zeros(4, 2, dtype=torch.float64))
    assert (path.shape, path.size(), path.dtype, path.device.type) == ((4, 2), (4, 2), torch.float64, "cpu")


def test_wrong_questions_to_the_path_are_named():
    """Times outside, backwards, and shapes that torchsde cannot use."""
    path = BrownianPath((4, 2), 1.0, 3.0, seed=SEED)
    for call, words in [
        (lambda: path(0.5, 2.0), "lives on [1, 3]"),
        (lambda: path(2.0, 1.5), "later tb"),
        (lambda: BrownianPath((4,), 0.0, 1.0, seed=1), "shape (B, m)"),
        (lambda: BrownianPath((4, 2), 1.0, 1.0, seed=1), "t0 < t1"),
    ]:
        with pytest.raises(OptionError) as caught:
            call()
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("method", "order"),
    [("srk", 1.5), ("euler", 0.5), ("heun", 1.0), ("midpoint", 1.0), ("log_ode", 1.0), ("reversible_heun", 1.0)],
)
def test_strong_orders_on_our_path(method, order):
    """On geometric Brownian motion each method has its strong order: srk needs the path's own time integrals for it.

    With a time integral that is not the path's, the slope of srk is 1. Stratonovich's methods get the converted drift;
    without that they do not converge at all. 0.1: 4000 paths and the next term, from 16 to 128 steps.
    """
    sde = SDE.of(lambda x, t: 0.3 * x, lambda x, t: 0.4 * x)
    x0 = torch.ones(COUNT, 1, dtype=torch.float64)
    motion = SDE.of(lambda x, t: 0.0, lambda x, t: 1.0)
    w = simulate(motion, 0.0 * x0, [0.0, 1.0], seed=1, steps=1).x[-1]
    exact = torch.exp(0.3 - 0.5 * 0.4**2 + 0.4 * w)
    ends = [simulate(sde, x0, [0.0, 1.0], seed=1, steps=n, method=f"torchsde:method={method}").x[-1] for n in (16, 128)]
    errors = [float((end - exact).square().mean().sqrt()) for end in ends]
    assert abs(math.log2(errors[0] / errors[1]) / 3.0 - order) < 0.1


def test_srk_refines_one_path_in_sample():
    """sample(..., "torchsde:method=srk", noise="brownian"): strong order 1.5 on the reverse VP equation.

    rms distance of the samples at n and 2 n steps. White noise stays apart; an integral that is not the path's gives 1.
    """
    ends = [
        torchdiff.sample(
            lambda x, t: -0.5 * x - torch.tanh(x),
            "vp",
            "torchsde:method=srk",
            steps=n,
            shape=(4, 500),
            seed=1,
            prediction="score",
            noise="brownian",
            dtype=torch.float64,
            final="t_min",
            grid="uniform",
            t_min=0.1,
        ).x
        for n in (40, 80, 160, 320)
    ]
    gaps = [float((a - b).square().mean().sqrt()) for a, b in pairwise(ends)]
    # 0.15: of slopes between 40 and 320 steps; 1.5 is the asymptote
    assert abs(math.log2(gaps[0] / gaps[2]) / 2.0 - 1.5) < 0.15, gaps


@pytest.mark.parametrize("sde", ["vp", "cld:mass=1,beta=1,t_max=3"])
def test_euler_is_euler_maruyama(sde):
    """The solver with torchsde's euler and ours are one formula on one noise; milstein too: additive noise."""
    runs = []
    for solver in ("euler_maruyama", "torchsde:method=euler", "torchsde:method=milstein"):
        out = torchdiff.sample(
            field, sde, solver, steps=6, shape=(3, 1, 2, 2), prediction="score", seed=5, dtype=torch.float64
        )
        runs.append(torch.stack(out.state))
    torch.testing.assert_close(runs[1], runs[0], rtol=1e-11, atol=1e-12)  # amplified along six steps from t = 1
    torch.testing.assert_close(runs[2], runs[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_solver_and_simulation_agree(method):
    """The solver and simulate(reverse(...)) with the same method are one step on one path, for any event shape."""
    times = [1.0, 0.75, 0.5, 0.25]
    x = noise.normal((3, 1, 2, 2), seed=2, dtype=torch.float64)
    name = f"torchsde:method={method}"
    options = {"seed": 6, "noise": "brownian"}
    mine = simulate(reverse("vp", field), x, times, steps=1, method=name, **options)
    theirs = torchdiff.sample(field, "vp", name, times=times, x=x, prediction="score", final="t_min", **options)
    torch.testing.assert_close(mine.x[-1], theirs.x, rtol=1e-12, atol=1e-12)
    assert theirs.plan.calls == theirs.calls == 3 * METHODS[method][1] + (method in REMEMBERS)
    assert torchdiff.Plan.from_json(theirs.plan.to_json()).calls == theirs.calls


def test_torch_s_own_generator_is_left_alone():
    """torchsde would draw a vector to learn the shape of a product; the caller's random numbers do not move."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    torchdiff.sample(field, "vp", "torchsde", steps=2, shape=(3, 2), prediction="score", seed=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("method", ["milstein", "log_ode"])
def test_inference_mode_is_refused_where_torchsde_derives(method):
    """Autograd finds no derivative there, and torchsde goes on with zero: Milstein's steps were Euler's, silently."""
    with torch.inference_mode(), pytest.raises(IncompatibleError, match="inference_mode.*no_grad"):
        simulate(OURS, start(), [0.0, 1.0], steps=2, method=f"torchsde:method={method}")
    with torch.inference_mode():
        inside = simulate("vp", start(), [0.0, 1.0], seed=1, steps=2, method=f"torchsde:method={method}").x
    assert torch.equal(
        inside, simulate("vp", start(), [0.0, 1.0], seed=1, steps=2, method=f"torchsde:method={method}").x
    )


def test_what_torchsde_cannot_do_is_named():
    """Matrix noise by srk, an unknown method, and a machine without torchsde: one line with the way out."""
    sde = SDE.of(lambda x, t: 0.0, lambda x, t: torch.diag_embed(x), "matrix")
    with pytest.raises(IncompatibleError, match="matrix noise; take milstein"):
        simulate(sde, start(), [0.0, 1.0], steps=2, method="torchsde:method=srk")
    with pytest.raises(OptionError, match="srk, midpoint.*got 'adjoint_reversible_heun'"):
        torchdiff.get_solver("torchsde:method=adjoint_reversible_heun")
    program = """
import sys
sys.modules["torchsde"] = None
import torch, torchdiff
from torchdiff.errors import DependencyError
assert "torchsde" in torchdiff.list_solvers()
torchdiff.plan("vp", "torchsde", steps=3)
calls = []
def net(x, t): calls.append(1); return x
for run in (
    lambda: torchdiff.sample(net, "vp", "torchsde", steps=2, shape=(1, 1), prediction="score"),
    lambda: torchdiff.simulate("vp", torch.ones(1, 1), [0, 1], method="torchsde", steps=2),
):
    try: run()
    except DependencyError as error: assert "pip install torchsde" in str(error), error
    else: raise AssertionError("no error")
assert not calls
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
