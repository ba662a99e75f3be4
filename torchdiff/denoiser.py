"""The user's network and its meaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torchdiff.calling import Calling
from torchdiff.conventions import CONVENTIONS, SCALES, TIMES, Convention
from torchdiff.errors import IncompatibleError, NetworkError, OptionError, shown
from torchdiff.latent import Latent
from torchdiff.sde.base import Level

PREDICTIONS = ("eps", "x0", "v", "score", "flow")  # the words that say what an output is, and nothing of time and input


@dataclass(frozen=True)
class Denoiser:
    """A network and its meaning: what it predicts, how it wants time, and by what its input is scaled.

    net:         called `net(x, t, **cond)`, for an n-block SDE `net(x, v, ..., t, **cond)`; x (B, *event), t (B,) of
                 x's dtype, float32 at least; returns one tensor of x's shape and leaves x as it is. None where only
                 a plan is wanted.
    prediction:  what the output is, with x_t = alpha x0 + sigma eps: "eps", "x0", "v" = alpha eps - sigma x0,
                 "flow" = eps - x0, "score" = -eps / sigma, "energy" whose gradient is -score; or a convention that says
                 time and input scale too: "edm:sigma_data=0.5", "k_diffusion", "ddpm", "score_sde", "score_sde_ve",
                 "flow_matching"; for an n-block SDE "eps", "score" or "energy" of the last block, "mixed_score".
    time:        what `net` gets as t: "t", "index" (1000 t - 1), "reversed" (1 - t), "sigma" (sigma / alpha), "log_snr"
                 (2 log alpha / sigma), "c_noise" (log(sigma / alpha) / 4), a number that multiplies t, or a function
                 Level -> float. None: as the convention has it, "t" for most.
    input_scale: x is multiplied by it before the call: "unit" (1 / sqrt(alpha^2 + sigma^2), for data of unit variance),
                 "data" (1 / alpha), "none", or a function Level -> float. None: as the convention has it.
    copy:        True for a network that returns the same buffer at each call (CUDA graphs): its output is copied.
    calling:     the rest of how it is called; latent: how a latent is decoded. See `wrap`.

    Other denoisers (guidance, clipping) wrap one and have the same methods.
    """

    net: Callable[..., Any] | None
    prediction: str = "eps"
    time: str | float | Callable[[Level], float] | None = None
    input_scale: str | Callable[[Level], float] | None = None
    copy: bool = False
    cond: Mapping[str, Any] = field(default_factory=dict)
    calling: Calling = Calling()  # noqa: RUF009  # frozen, like the rest
    latent: Latent | None = None
    convention: Convention = field(init=False, repr=False, compare=False)
    plain: bool = field(init=False, repr=False, compare=False)  # called as net(*blocks, t, **cond), and that is all

    def __post_init__(self) -> None:
        told = self.prediction if isinstance(self.prediction, str) else CONVENTIONS.spec(self.prediction)
        convention = CONVENTIONS.get(told)
        object.__setattr__(self, "convention", convention)
        object.__setattr__(self, "prediction", CONVENTIONS.spec(convention))
        if not (callable(self.time) or isinstance(self.time, int | float) or self.time in (None, *TIMES)):
            raise OptionError(f"unknown time {self.time!r}; {', '.join(TIMES)}, a number or a function Level -> float")
        if not (callable(self.input_scale) or self.input_scale in (None, *SCALES)):
            raise OptionError(
                f"unknown input_scale {self.input_scale!r}; {', '.join(SCALES)}, a function of the Level or None"
            )
        if self.latent is not None and not isinstance(self.latent, Latent):
            raise OptionError(f"latent is a torchdiff.Latent of the decoder, got {type(self.latent).__name__}")
        if self.net is not None and not callable(self.net):
            raise OptionError(f"a network is called net(x, t), got {type(self.net).__name__}, which cannot be called")
        if convention.gradient != self.calling.gradient:
            object.__setattr__(self, "calling", replace(self.calling, gradient=convention.gradient))
        object.__setattr__(self, "plain", self.calling == Calling())

    def bind(self, cond: Mapping[str, Any]) -> Denoiser:
        """The same denoiser with these conditions passed to the network at each call."""
        clash = sorted(set(cond) & set(self.cond))
        if clash:
            raise OptionError(f"condition {clash[0]!r} is given twice: to the denoiser and in cond")
        return replace(self, cond={**self.cond, **cond})

    def meaning(self, level: Level) -> tuple[float, float]:
        """(u, w) with output = u x0 + w eps; at a level of several blocks (own, factor) with score = own * last block +
        factor * output."""
        if level.scalar:
            u, w = self.convention.meaning(level)
            return (u, w / self.scale(level)) if self.convention.gradient else (u, w)
        own, factor = self.convention.block(level)
        return (own, factor * self.scale(level)) if self.convention.gradient else (own, factor)

    @property
    def cores(self) -> tuple[Denoiser, ...]:
        """The networks inside with their meanings: this one; guidance by another network has two."""
        return (self,)

    def mix(self, level: Level) -> tuple[float, ...]:
        """The weights that add the network's outputs up to one (guidance has two)."""
        return (1.0,)

    def mixes(self, levels: Sequence[Level]) -> list[tuple[float, ...]]:
        """`mix` of the samples of one call, each at a level of its own: as many weights for all of them."""
        return [self.mix(level) for level in levels]

    def scale(self, level: Level) -> float:
        """The input scale at this level."""
        if self.input_scale is None:
            return self.convention.scale(level)
        return SCALES[self.input_scale](level) if isinstance(self.input_scale, str) else self.input_scale(level)

    def label(self, level: Level) -> float:
        """The time that the network gets at this level. Raises IncompatibleError where it is not finite."""
        if self.time is None:
            label = self.convention.label(level)
        elif callable(self.time):
            label = float(self.time(level))
        else:
            label = TIMES[self.time](level) if isinstance(self.time, str) else self.time * level.t
        return finite_label(label, level)

    def __call__(self, *blocks_and_level: Any) -> tuple[Any, ...]:
        """The outputs at blocks (B, *event) and a Level; the variance that the network tells comes after them.

        Raises NetworkError for another shape or no tensor.
        """
        *blocks, level = blocks_and_level
        like = clock(blocks[0])
        return self.outputs(blocks, level, like.new_full((like.shape[0],), self.label(level)))

    def ask(
        self, blocks: Sequence[Any], level: Level, times: Any, levels: Sequence[Level] | None = None
    ) -> tuple[Any, ...]:
        """The outputs that `mix` weighs, with the times (B,) at hand: what `label(level)` is, once a sample.

        levels: where each sample has its own; `level` is then the first of them, and `mixes` weighs the outputs.
        """
        return self.outputs(blocks, level, times, levels)[:1]

    def outputs(
        self,
        blocks: Sequence[Any],
        level: Level,
        times: Any,
        levels: Sequence[Level] | None = None,
        cond: Mapping[str, Any] | None = None,
    ) -> tuple[Any, ...]:
        """All that the network says, each (B, *event). cond: in the place of the denoiser's own."""
        return self.read(self.called(blocks, level, times, cond), blocks[0], level)

    def called(self, blocks: Sequence[Any], level: Level, times: Any, cond: Mapping[str, Any] | None = None) -> Any:
        """What the network answers, not yet looked at. cond: in the place of the denoiser's own."""
        if self.net is None:
            raise OptionError("this denoiser has no network: it can be planned with, not sampled from")
        cond = self.cond if cond is None else cond
        try:
            if not self.plain:
                return self.calling(self.net, blocks, times, cond)
            return self.found(self.net(*blocks, times, **cond))
        except (IndexError, RuntimeError) as error:
            self.blame(error, blocks[0], level, cond)
            raise

    def found(self, answer: Any) -> Any:
        """The output in what the network returned."""
        return answer if hasattr(answer, "new_full") else self.calling.found(answer)

    def blame(self, error: Exception, x: Any, level: Level, cond: Mapping[str, Any] | None = None) -> None:
        """Raises NetworkError from an error of the network, called with x, where it is known what it comes from."""
        cond = self.cond if cond is None else cond
        if isinstance(error, IndexError) and cond:
            raise NetworkError(
                f"the network failed at t = {level.t:g}: {error}; its conditions are {_ranges(cond)}"
            ) from error
        given = self.calling.dtype or x.dtype
        other = _other_dtype(self.net, given) if isinstance(error, RuntimeError) else None
        if other is not None:
            raise NetworkError(
                f"the network failed at t = {level.t:g}: its parameters are {other}, its input is {given}; "
                f"wrap it with dtype={other}, which converts on the way"
            ) from error

    def read(self, output: Any, x: Any, level: Level) -> tuple[Any, ...]:
        """The outputs in an answer of the network to x (B, *event). Raises NetworkError for what is none."""
        if not hasattr(output, "new_full"):  # duck typing: plans are made without torch
            raise NetworkError(
                f"the network returned {type(output).__name__} at t = {level.t:g}, expected a tensor of shape "
                f"{tuple(x.shape)}; say with output=... where it is in the answer: an index, a key or a function"
            )
        outputs = self.calling.parted(output, x) if self.calling.variance else (output,)
        for output in outputs:
            self._check(output, x, level)
        return tuple([output.clone() for output in outputs]) if self.copy else outputs

    def _check(self, output: Any, x: Any, level: Level) -> None:
        if output.shape != x.shape:
            raise NetworkError(
                f"the network returned shape {tuple(output.shape)} at t = {level.t:g}, "
                f"its input has shape {tuple(x.shape)}; both must be the same{_hint(output, x)}"
            )
        if (dtype := output.dtype) is not x.dtype and (not dtype.is_floating_point or dtype.itemsize < 2):
            raise NetworkError(f"the network returned dtype {dtype} at t = {level.t:g}, expected a floating one")
        if output.device != x.device:
            raise NetworkError(f"the network returned a tensor on {output.device}, its input is on {x.device}")


def finite_label(label: float, level: Level) -> float:
    """The label. Raises IncompatibleError for one that is not finite."""
    if not math.isfinite(label):
        raise IncompatibleError(
            f"the network's time is {label} at t = {level.t:g}; keep away from there by t_max, t_min"
        )
    return label


def clock(x: Any) -> Any:
    """x, or something on its device, with the dtype of the times that a network gets beside it.

    Half precision cannot tell apart the times of a fine grid: they are float32 at least.
    """
    return x if x.dtype.itemsize >= 4 else x.new_empty(x.shape[:1]).float()


def _hint(output: Any, x: Any) -> str:
    if output.shape in ((x.shape[0],), (x.shape[0], 1)):
        return "; the prediction of a network that returns an energy is 'energy'"
    if x.dim() > 1 and output.shape == (x.shape[0], 2 * x.shape[1], *x.shape[2:]):
        return "; a network that tells a variance too is wrapped with variance=True"
    return ""


def _ranges(cond: Mapping[str, Any]) -> str:
    """The conditions in words, whole numbers with their least and largest: an index that no table has is among them."""
    words = []
    for name, value in cond.items():
        if hasattr(value, "new_full") and value.numel():
            whole = "" if value.is_floating_point() else f" from {value.min().item()} to {value.max().item()}"
            words.append(f"{name} of shape {tuple(value.shape)}{whole}")
        else:
            words.append(f"{name} = {shown(value)}")
    return ", ".join(words)


def _other_dtype(net: Any, dtype: Any) -> Any:
    """The dtype of the network's first parameter if it is not this one; None if it is, or there is none to ask."""
    first = next(iter(net.parameters()), None) if hasattr(net, "parameters") else None
    return None if first is None or first.dtype == dtype else first.dtype
