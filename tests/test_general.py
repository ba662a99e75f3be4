"""Laws of the general SDE: what a user's functions may return, what is refused, what is derived."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from torchdiff import SDE, noise, simulate
from torchdiff.errors import IncompatibleError, NonFiniteError, OptionError, UnknownNameError

X = noise.normal((6, 2), seed=3, dtype=torch.float64)


@dataclass(frozen=True)
class Swing(SDE):
    """A noisy pendulum, as a subclass: the noise drives the velocity only."""

    damping: float = 0.3
    kind = "scalar"

    def drift(self, x, t):
        return torch.stack([x[:, 1], -torch.sin(x[:, 0]) - self.damping * x[:, 1]], dim=1)

    def diffusion(self, x, t):
        return torch.stack([torch.zeros_like(x[:, 0]), torch.full_like(x[:, 0], 0.4 + t)], dim=1)


def test_a_subclass_and_two_functions_are_one():
    """SDE.of and a subclass with the same formulas give the same paths, and options keep their place."""
    swing = Swing(0.5)
    pair = SDE.of(swing.drift, swing.diffusion, "scalar")
    runs = [simulate(sde, X, [0.0, 1.0], seed=1, steps=8).x for sde in (swing, pair, Swing())]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_a_number_is_a_constant_field():
    """f = 0 and g = 2 as numbers: X = x0 + 2 W."""
    still = simulate(SDE.of(lambda x, t: 0, lambda x, t: 1.0), 0.0 * X, [0.0, 1.0], seed=1, steps=4).x[-1]
    moved = simulate(SDE.of(lambda x, t: 0, lambda x, t: 2.0), X, [0.0, 1.0], seed=1, steps=4).x[-1]
    torch.testing.assert_close(moved, X + 2.0 * still, rtol=0.0, atol=1e-14)


def test_kinds_agree_where_they_can_say_the_same():
    """diag(g) as a matrix is diagonal noise, one column is scalar noise: equal paths, by Milstein too."""
    for kind, matrix in (("diagonal", torch.diag_embed), ("scalar", lambda g: g.unsqueeze(2))):
        for method in ("euler_maruyama", "milstein"):
            plain = SDE.of(lambda x, t: -x, lambda x, t: x.sin() + 0.1 * t, kind)
            full = SDE.of(lambda x, t: -x, lambda x, t, m=matrix: m(x.sin() + 0.1 * t), "matrix")
            a, b = (simulate(s, X, [0.0, 1.0], seed=1, steps=8, method=method).x for s in (plain, full))
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


def test_the_event_may_have_any_shape():
    """(B,), (B, 6) and (B, 1, 2, 3) with the same numbers are the same paths: coordinates are counted row by row."""
    sde = SDE.of(lambda x, t: -x, lambda x, t: x.cos())
    flat = noise.normal((4, 6), seed=1, dtype=torch.float64)
    for method in ("milstein", "torchsde:method=srk"):
        a, b = (
            simulate(sde, x, [0.0, 0.5], seed=1, steps=4, method=method).x for x in (flat, flat.reshape(4, 1, 2, 3))
        )
        assert torch.equal(a, b.reshape(a.shape))
    assert simulate(sde, flat[:, 0], [0.0, 0.5], seed=1, steps=4, method="milstein").x.shape == (2, 4)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)])
def test_nothing_is_simulated_as_nothing(shape):
    """No samples, or samples without elements, are no error."""
    for kind in ("diagonal", "scalar"):
        for method in ("euler_maruyama", "milstein"):
            sde = SDE.of(lambda x, t: -x, lambda x, t: x.sin(), kind)
            assert simulate(sde, torch.ones(shape), [0.0, 1.0], seed=1, steps=2, method=method).x.shape == (2, *shape)
    assert simulate("cld", torch.ones(shape), [0.0, 1.0], seed=1).state[1].shape == (2, *shape)


@pytest.mark.parametrize("kind", ["diagonal", "scalar"])
def test_a_given_derivative_is_used_and_equal(kind):
    """Milstein with g_prime and with torch's derivative; a wrong g_prime shows, so it is what is read."""

    def run(g_prime):
        sde = SDE.of(lambda x, t: -x, lambda x, t: x.sin(), kind, g_prime)
        return simulate(sde, X, [0.0, 1.0], seed=1, steps=8, method="milstein").x

    torch.testing.assert_close(run(lambda x, t: x.cos()), run(None), rtol=1e-13, atol=1e-13)
    assert float((run(lambda x, t: 1.1 * x.cos()) - run(None)).abs().max()) > 1e-3


def test_milstein_refuses_noise_that_does_not_commute():
    """Heisenberg's columns (1, 0, -y), (0, 1, x), and a diagonal g of other coordinates: an error, no lower order."""
    x = torch.ones(3, 3, dtype=torch.float64)

    def heisenberg(x, t):
        one, none = torch.ones_like(x[:, 0]), torch.zeros_like(x[:, 0])
        return torch.stack([torch.stack([one, none, -x[:, 1]], 1), torch.stack([none, one, x[:, 0]], 1)], 2)

    for g, kind in ((heisenberg, "matrix"), (lambda x, t: x.roll(1, 1), "diagonal")):
        sde = SDE.of(lambda x, t: 0.0, g, kind)
        with pytest.raises(IncompatibleError, match="commutative"):
            simulate(sde, x, [0.0, 1.0], steps=4, method="milstein")
        simulate(sde, x, [0.0, 1.0], steps=4)  # Euler-Maruyama takes any


def test_gradients_flow_when_asked():
    """d E[X_T] / d mu by autograd through 8 Milstein steps equals a central difference."""
    x0 = X.abs() + 0.5

    def mean(mu):
        sde = SDE.of(lambda x, t: mu * x, lambda x, t: 0.3 * x)
        return simulate(sde, x0, [0.0, 1.0], seed=1, steps=8, method="milstein", grad=True).x[-1].mean()

    mu = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(mean(mu), mu)
    difference = (mean(0.4 + 1e-5) - mean(0.4 - 1e-5)) / 2e-5
    assert abs(float(slope - difference)) < 1e-8  # h^2 of the difference, and rounding over h
    plain = SDE.of(lambda x, t: mu * x, lambda x, t: 0.3)
    assert not simulate(plain, x0, [0.0, 1.0], seed=1, steps=8).x.requires_grad


def test_paths_that_blow_up_are_named_or_marked():
    """dX = X^3 dt from 40 leaves every number behind: the error names time and path, "mark" goes on with the rest."""
    sde = SDE.of(lambda x, t: x**3, lambda x, t: 0.1)
    x0 = torch.tensor([[0.0], [40.0], [0.1]])
    with pytest.raises(NonFiniteError, match="at t = 0.5: path 1 first, 1 of 3"):
        simulate(sde, x0, [0.0, 0.5, 1.0], seed=1, steps=8)
    assert simulate(sde, x0, [0.0, 0.5, 1.0], seed=1, steps=8, on_nonfinite="mark").finite.tolist() == [
        True,
        False,
        True,
    ]


def ones(x, t):
    return torch.ones_like(x)


WRONG = [
    (
        dict(f=lambda x, t: x[:, :1]),
        IncompatibleError,
        "drift returned shape (6, 1) at t = 0, expected x's shape (6, 2)",
    ),
    (dict(f=lambda x, t: x.float()), IncompatibleError, "torch.float32 on cpu at t = 0, x is torch.float64"),
    (dict(f=lambda x, t: None), IncompatibleError, "drift returned None"),
    (dict(g=lambda x, t: x.unsqueeze(2)), IncompatibleError, "kind='matrix'"),
    (dict(g=ones, kind="matrix"), IncompatibleError, "expected (6, 2, m)"),
    (dict(g=ones, kind="full"), OptionError, "kind of an SDE is diagonal, scalar, matrix"),
    (dict(f=3.0), OptionError, "f is a function"),
    (dict(g_prime=3.0), OptionError, "g_prime is a function"),
    (dict(g_prime=lambda x, t: x[0], method="milstein"), IncompatibleError, "g_prime returned shape (2,)"),
    (dict(method="rk4"), UnknownNameError, "known: exact, euler_maruyama, milstein, torchsde"),
    (dict(method="torchsde:method=adjoint_reversible_heun"), OptionError, "torchsde"),
    (dict(method="milstein:order=2"), OptionError, "no option 'order'"),
    (dict(method="exact"), IncompatibleError, "euler_maruyama"),
    (dict(steps=None), OptionError, "1 makes them the grid"),
    (dict(steps=0), OptionError, "got 0"),
    (dict(noise="pink"), OptionError, "'white' or 'brownian'"),
    (dict(clock=(0.0, 0.5)), OptionError, "widen `clock`"),
    (dict(clock=(1.0, 0.0)), OptionError, "clock is an interval"),
    (dict(clock=(0.0, 1e9)), OptionError, "shorter than the ticks"),
    (dict(times=[0.0]), OptionError, "at least two"),
    (dict(times=[0.0, float("nan")]), OptionError, "at least two"),
    (dict(times=[0.0, 1.0, 1.0]), OptionError, "rise"),
    (dict(x=torch.ones(3, dtype=torch.int64)), OptionError, "floating tensor (B, *event)"),
    (dict(x=[X, X]), IncompatibleError, "x0 has 2 block(s), the SDE 1"),
    (dict(first_index=-1), OptionError, "first_index"),
    (dict(on_nonfinite="drop"), OptionError, "'raise' or 'mark'"),
    (dict(seed=[1, 2]), ValueError, "2 seeds for a batch of 6"),
]


@pytest.mark.parametrize(("changes", "error", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_wrong_arguments_are_named(changes, error, words):
    """Each error says what came and what was expected."""
    options = {"f": ones, "g": ones, "kind": "diagonal", "g_prime": None, "times": [0.0, 1.0], "x": X, "steps": 2}
    options |= changes

    def run(f, g, kind, g_prime, x, times, seed=1, **others):
        return simulate(SDE.of(f, g, kind, g_prime), x, times, seed=seed, **others)

    with pytest.raises(error) as caught:
        run(**options)
    assert words in str(caught.value)
