"""torchsde's methods on our equations, and our Brownian paths for torchsde."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchdiff import noise
from torchdiff.blocks import pack, unpack
from torchdiff.counters import FORWARD_PATH
from torchdiff.draws import joint
from torchdiff.errors import DependencyError, OptionError
from torchdiff.interop.torchsde_methods import METHODS, check_method

if TYPE_CHECKING:
    from torchdiff.solvers.base import Noise, Predict, Span

SLACK = 1e-6  # of the horizon: times in float32 miss the ends of a path by 6e-8


def torchsde() -> Any:
    """The package. Raises DependencyError with the way out where it is not installed."""
    try:
        import torchsde  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DependencyError(
            f"torchsde's methods need torchsde, which does not import ({error}); the way out: pip install torchsde"
        ) from error
    return torchsde


class BrownianPath:
    """The Brownian path of a seed on [t0, t1] as torchsde wants it: `torchsde.sdeint(sde, y0, ts, bm=path)`.

    shape: (B, m), m the number of Wiener processes of a sample. seed, first_index, path, dtype, device: as in
    torchdiff.noise.brownian; by default the path that torchdiff.simulate takes for a seed with clock = (t0, t1).
    bm(ta, tb) is W(tb) - W(ta), (B, m); with return_U also U, the integral of W - W(ta) over [ta, tb]; bm(t) is
    W(t) - W(t0). A value depends on seed, sample and times alone, not on the order of the calls, and nothing is kept.
    Times are rounded to 2^-24 of t1 - t0. There is no Levy area between different processes: no log_ode.
    Raises OptionError for times outside of [t0, t1], for tb before ta and for return_A.
    """

    def __init__(
        self,
        shape: Sequence[int],
        t0: float,
        t1: float,
        *,
        seed: int | Sequence[int] | Tensor,
        first_index: int = 0,
        path: int = FORWARD_PATH,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.t0, self.t1 = float(t0), float(t1)
        if len(shape) != 2 or not self.t0 < self.t1:
            raise OptionError(f"a path has shape (B, m) and t0 < t1, got {tuple(shape)}, t0 = {t0!r}, t1 = {t1!r}")
        self.shape = torch.Size(shape)
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        self.device = torch.get_default_device() if device is None else torch.device(device)
        self.levy_area_approximation = "space-time"
        self.seed, self.first_index, self.path = seed, first_index, path

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        if return_A:
            raise OptionError(
                "a Brownian path has no Levy area between its processes; take another method than log_ode"
            )
        start, end = (self.t0, float(ta)) if tb is None else (float(ta), float(tb))
        if start > end:
            raise OptionError(f"an increment goes from ta to a later tb, got ta = {start!r}, tb = {end!r}")
        made: Any = noise.brownian(
            self.shape,
            [self._clock(start), self._clock(end)],
            seed=self.seed,
            horizon=self.t1 - self.t0,
            first_index=self.first_index,
            path=self.path,
            integral=return_U,
            dtype=self.dtype,
            device=self.device,
        )
        return (made[0][0], made[1][0]) if return_U else made[0]

    def size(self) -> torch.Size:
        return self.shape

    def __repr__(self) -> str:
        return f"BrownianPath({tuple(self.shape)}, t0={self.t0:g}, t1={self.t1:g}, seed={self.seed!r})"

    def _clock(self, t: float) -> float:
        horizon = self.t1 - self.t0
        r = t - self.t0
        if not -SLACK * horizon <= r <= (1.0 + SLACK) * horizon:
            raise OptionError(f"the path lives on [{self.t0:g}, {self.t1:g}], asked at t = {t!r}; make it longer")
        return min(max(r, 0.0), horizon)


class _Given:
    """The noise of one step, for its own interval only: W, and U made when it is asked for."""

    levy_area_approximation = "space-time"

    def __init__(self, w: Tensor, u: Tensor | None) -> None:
        self.w, self.u = w, u
        self.shape, self.dtype, self.device = w.shape, w.dtype, w.device

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        return (self.w, self.u) if return_U else self.w


class _Drift:
    """A drift that is not evaluated twice at one point: torchsde's stages and checks ask again for what they had."""

    def __init__(self, drift: Callable[[Tensor, float], Tensor]) -> None:
        self.drift, self.known = drift, []

    def __call__(self, t: Any, y: Tensor) -> Tensor:
        t = float(t)
        for at, where, value in self.known:
            if at == t and where is y:
                return value
        value = self.drift(y, t)
        self.known.append((t, y, value))
        return value


class _Additive:
    """An equation whose noise does not depend on y, given by what it does to a vector: no matrix is made."""

    noise_type = "additive"

    def __init__(self, sde_type: str, f: _Drift, g_prod: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        self.sde_type, self.f, self.g_prod = sde_type, f, g_prod


class _Multiplicative:
    def __init__(self, sde_type: str, noise_type: str, f: _Drift, g: Callable[[Any, Tensor], Tensor]) -> None:
        self.sde_type, self.noise_type, self.f, self.g = sde_type, noise_type, f, g


def additive_step(
    method: str,
    y: Tensor,
    span: tuple[float, float],
    drift: Callable[[Tensor, float], Tensor],
    spread: Callable[[Tensor, float], Tensor],
    given: tuple[Tensor, Tensor | None],
) -> Tensor:
    """y (B, n) at span[1] > span[0] by one step of dy = drift(y, s) ds + G(s) dW, spread(v, s) = G(s) v."""
    check_method(method)
    equation = _Additive(METHODS[method][0], _Drift(drift), lambda s, y, v: spread(v, float(s)))
    devices = [y.device] if y.is_cuda else []
    with torch.random.fork_rng(devices):  # torchsde draws a vector to see what shape g_prod returns
        return _step(method, equation, y, span, given)


def step(
    method: str,
    y: Tensor,
    span: tuple[float, float],
    kind: str,
    drift: Callable[[Tensor, float], Tensor],
    diffusion: Callable[[Tensor, float], Tensor],
    given: tuple[Tensor, Tensor | None],
) -> Tensor:
    """y (B, d) at span[1] > span[0] by one step of dy = drift(y, s) ds + diffusion(y, s) dW.

    kind: "diagonal", diffusion (B, d); "scalar", (B, d, 1); "general", (B, d, m). drift: in the method's own calculus.
    """
    check_method(method)
    equation = _Multiplicative(METHODS[method][0], kind, _Drift(drift), lambda s, y: diffusion(y, float(s)))
    return _step(method, equation, y, span, given)


def _step(method: str, equation: Any, y: Tensor, span: tuple[float, float], given: Any) -> Tensor:
    ts = torch.tensor(span, dtype=torch.float64, device="cpu")  # not y's dtype, which loses short steps
    # dt: longer than the step, so that rounding cannot make two of it
    states = torchsde().sdeint(equation, y, ts, bm=_Given(*given), method=method, dt=2.0 * (span[1] - span[0]))
    return states[1].to(y.dtype)


def reverse_step(method: str, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
    """x at span.nxt by one step of the reverse SDE, on the clock s = -t: what the solver `torchsde` does."""
    cur, nxt, sde = span.cur, span.nxt, span.sde
    shape, blocks = unpack(x)[0].shape, len(unpack(x))

    def flat(x: Any) -> Tensor:
        return torch.cat([block.reshape(shape[0], math.prod(shape[1:])) for block in unpack(x)], dim=1)

    def whole(y: Tensor) -> Any:
        return pack(block.reshape(shape).contiguous() for block in y.chunk(blocks, dim=1)) if y.numel() else x

    def clock(s: float) -> float:
        return min(max(-s, nxt.t), cur.t)  # stages at the ends may miss them by an ulp

    def drift(y: Tensor, s: float) -> Tensor:
        level = sde.level(clock(s))
        x, noise = whole(y), sde.noise(level.t)
        return flat((noise @ noise.T) @ predict(x, level).score - sde.drift(level.t) @ x)

    def spread(v: Tensor, s: float) -> Tensor:
        return flat(sde.noise(clock(s)) @ whole(v))

    if method == "srk":
        w, u = joint(noise)(cur, nxt)
        given = flat(w), flat(u)
    else:
        given = flat(noise(cur, nxt) * math.sqrt(cur.t - nxt.t)), None
    return whole(additive_step(method, flat(x), (-cur.t, -nxt.t), drift, spread, given))
