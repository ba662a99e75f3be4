"""Correctors, and chains of correctors with a predictor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Solver, Span
from torchdiff.solvers.ddim import DDPM


def _damping(span: Span) -> float:
    """(alpha_cur / alpha_nxt)^2: 1 for VE and 1 - beta_i for DDPM on its own times, the alpha_i of the paper's code."""
    return (span.cur.alpha / span.nxt.alpha) ** 2 if span.nxt.alpha > span.cur.alpha else 1.0


def _check(name: str, snr: float, repeat: int) -> None:
    if not 0.0 < snr < math.inf:
        raise OptionError(f"{name}: snr must be positive, got {snr!r}")
    if not isinstance(repeat, int) or not 1 <= repeat <= 32:  # a part has 32 draws a step
        raise OptionError(f"{name}: repeat is a whole number from 1 to 32, got {repeat!r}")


@SOLVERS.register("langevin")
@dataclass(frozen=True)
class Langevin(Solver):
    """Langevin corrector by signal-to-noise ratio; stays at its level. Not affine: its step size reads norms.

        x <- x + e score + sqrt(2 e) z,   e = 2 a (snr |z| / |score|)^2,   a = (alpha_cur / alpha_nxt)^2

    norm: "sample" takes the norms |.| (2-norm over the event) of each sample, so that a sample does not depend on its
    batch; "batch" takes their means over the batch, as the paper's code does. A sample whose score is 0 does not move.
    repeat: corrector steps in each interval, one network call each.
    Raises OptionError for snr <= 0, repeat outside 1..32 and another norm.
    Source: Song et al. 2021, arXiv:2011.13456, algorithms 4 and 5; the code runs it before the predictor, as here.
    """

    snr: float = 0.16
    repeat: int = 1
    norm: str = "sample"
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE
    moves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("langevin", self.snr, self.repeat)
        if self.norm not in ("sample", "batch"):
            raise OptionError(f"langevin: norm is 'sample' or 'batch', got {self.norm!r}")

    @property
    def calls(self) -> int:  # type: ignore[override]
        return self.repeat

    @property
    def draws(self) -> int:
        return self.repeat

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        from torchdiff.draws import lazy  # not above: it loads torch, which a plan needs not

        cur, scale, fresh = span.cur, 2.0 * _damping(span) * self.snr**2, lazy(noise)
        for _ in range(self.repeat):
            score, z = predict(x, cur).score, fresh(cur, cur)
            norms = z.norms(score)
            norms = norms if self.norm == "sample" else norms.mean(dim=0).expand_as(norms)
            score_norm, z_norm = norms.unbind(dim=1)
            still = score_norm == 0.0  # kept out of the division and the root, where it would make gradients nan
            size = scale * (z_norm.masked_fill(still, 1.0) / score_norm.masked_fill(still, 1.0)) ** 2
            x = z.add((x, score), [1.0, *(w.masked_fill(still, 0.0) for w in (size, (2.0 * size).sqrt()))])
        return x


@SOLVERS.register("ald")
@dataclass(frozen=True)
class ALD(AffineSolver):
    """Annealed Langevin corrector with a step size known before the run; stays at its level.

        x <- x + e score + sqrt(2 e) z,   e = 2 a (snr sigma_cur)^2,   a = (alpha_cur / alpha_nxt)^2

    repeat: corrector steps in each interval, one network call each.
    Raises OptionError for snr <= 0 and repeat outside 1..32.
    Source: Song et al. 2021, arXiv:2011.13456, appendix G; Song & Ermon 2019, arXiv:1907.05600, algorithm 1.
    """

    snr: float = 0.16
    repeat: int = 1
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE
    moves: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("ald", self.snr, self.repeat)

    @property
    def calls(self) -> int:  # type: ignore[override]
        return self.repeat

    @property
    def draws(self) -> int:
        return self.repeat

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur = span.cur
        size = 2.0 * _damping(span) * (self.snr * cur.sigma) ** 2
        for _ in range(self.repeat):
            x = x + size * predict(x, cur).score + math.sqrt(2.0 * size) * noise(cur, cur)
        return x


class Chain(Solver):
    """Several solvers in each interval, one after the other, each with its own past; the last one moves."""

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        raise AssertionError("the driver steps the parts of a chain, never the chain")

    @property
    def deterministic(self) -> bool:
        return all(part.deterministic for part in self.parts())

    @property
    def calls(self) -> int | None:  # type: ignore[override]
        return _sum(part.calls for part in self.parts())

    @property
    def draws(self) -> int | None:
        return _sum(part.draws for part in self.parts())


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(filter(None, known))


DEFAULT_PREDICTOR, DEFAULT_CORRECTOR = DDPM(), Langevin()


@SOLVERS.register("predictor_corrector")
@dataclass(frozen=True)
class PredictorCorrector(Chain):
    """Predictor-corrector sampling: the corrector at each level, then the predictor to the next.

    predictor, corrector: solvers, or their names with options, in brackets if they have any:
    `predictor_corrector:predictor=(ddim:eta=0.5),corrector=(langevin:snr=0.2)`. Its order is None: a corrector of
    fixed signal-to-noise ratio adds an error that no number of steps removes.
    Raises OptionError for a predictor that stays, or a corrector that moves.
    Source: Song et al. 2021, arXiv:2011.13456, section 4.2 and algorithm 1, in the order of its code.
    """

    predictor: Solver | str = DEFAULT_PREDICTOR
    corrector: Solver | str = DEFAULT_CORRECTOR

    def __post_init__(self) -> None:
        for name in ("predictor", "corrector"):  # names are resolved at the door, so that equal chains compare equal
            object.__setattr__(self, name, SOLVERS.get(getattr(self, name)))
        *correctors, predictor = self.parts()
        if any(corrector.moves for corrector in correctors) or not predictor.moves:
            wrong = f"predictor = {predictor!r}" if not predictor.moves else f"corrector = {self.corrector!r}"
            raise OptionError(f"predictor_corrector: correctors are langevin and ald, predictors the rest; got {wrong}")

    def parts(self) -> tuple[Solver, ...]:
        assert isinstance(self.corrector, Solver)
        assert isinstance(self.predictor, Solver)
        return *self.corrector.parts(), *self.predictor.parts()
