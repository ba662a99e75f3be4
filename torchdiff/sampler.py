"""A plan around a network as one torch module, for torch.compile and torch.export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdiff import inputs, ops
from torchdiff.conventions import CONVENTIONS
from torchdiff.counters import PRIOR, draw_number
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError, NetworkError, OptionError, PlanError
from torchdiff.guidance.conditions import joined, other_side, rows
from torchdiff.guidance.free import Guided
from torchdiff.plans import Plan
from torchdiff.steps import AffineStep


class Stage(NamedTuple):
    """What of an item is structure: the numbers stand in the buffers."""

    sides: tuple[bool, ...]  # of the network call: with the conditions, and, guided, with what stands in their place
    feed: tuple[int, ...]
    reads: tuple[int, ...]
    rows: int
    draws: int
    keep: tuple[int, ...]


class Sampler(torch.nn.Module):
    """Runs a plan as pure tensor code: one graph under torch.compile(fullgraph=True), one program under torch.export.

    net:   called net(x, t, **cond) as in `sample`, or a `wrap` of what the plan was made for, or a `guide` of such one
           whose scale is a number or a function of the level: its weights are in the plan.
    plan:  from torchdiff.plan; all of its items affine. Its weights, draw numbers and times are buffers, so that
           another plan of the same structure (`load`) and other seeds compile nothing again.
    shape: (B, *event) of the samples that start from the prior; not needed where x is given.
    dtype: of such samples.
    The noise is that of `sample`, bit for bit. So is x in eager mode; a compiled network may differ by 2 ulp a step.
    Nothing is looked at on the way: no check for nan, for reused output buffers or for a network that writes into its
    input. Derivatives are recorded unless torch.no_grad or torch.inference_mode is on.
    """

    weights: Tensor
    draws: Tensor
    times: Tensor

    def __init__(
        self,
        net: Callable[..., Tensor] | Denoiser,
        plan: Plan,
        *,
        shape: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
        cond: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        denoiser = inputs.denoiser(net, None if hasattr(net, "meaning") else plan.prediction, cond)
        self.core = denoiser.inner if isinstance(denoiser, Guided) and denoiser.folds else denoiser
        if not isinstance(self.core, Denoiser) or type(self.core).__call__ is not Denoiser.__call__:
            raise IncompatibleError(
                f"{type(self.core).__name__} calls its network in a way of its own, with numbers that a compiled graph "
                f"would hold for ever; give the network itself, a wrap of it, or a guide of that with a scale for all "
                f"samples and without rescale"
            )
        if denoiser.latent is not None:
            raise IncompatibleError(
                "a Sampler returns the state, and this is a latent model: leave `latent` out and decode the state"
            )
        self.denoiser, self.net = denoiser, denoiser.net
        self.shape = None if shape is None else inputs.sizes(shape)
        self.dtype = inputs.float_type(dtype)
        self.blocks, self.stages, self.result = _structure(plan, denoiser)
        _check_mix(plan, denoiser)
        for name, table in _tables(plan, denoiser).items():
            self.register_buffer(name, table)

    def load(self, plan: Plan) -> None:
        """Put the weights, draw numbers and times of another plan in the place of those that are here.

        Of another guidance scale too: it is in the weights.

        Raises PlanError for a plan of another structure: other reads, rows, draws or network calls in some item.
        """
        blocks, stages, result = _structure(plan, self.denoiser)
        if len(stages) != len(self.stages):
            raise PlanError(f"{plan!r} has {len(stages)} items, this sampler {len(self.stages)}; make another Sampler")
        for place, (theirs, ours) in enumerate(zip(stages, self.stages, strict=True)):
            if theirs != ours:
                raise PlanError(f"item {place} of {plan!r} is {theirs}, here {ours}; make another Sampler")
        if (blocks, result) != (self.blocks, self.result):
            raise PlanError(f"{plan!r} ends in slots {result} of {blocks} block(s), this sampler in {self.result}")
        with torch.no_grad():
            for name, table in _tables(plan, self.denoiser).items():
                getattr(self, name).copy_(table)

    def forward(self, x: Tensor | Sequence[Tensor] | None, seeds: Tensor, first_index: int = 0) -> Tensor:
        """The samples (B, *event), for a block SDE the position.

        x:     the state to start from at the first level (B, *event), one or one tensor a block; None draws it.
        seeds: int64 on the device of x, (1,) shared, or (B,), as in torchdiff.ops.affine; first_index as there.
        """
        tables = iter(self.weights.view(torch.float64).split(self._sizes()))
        numbers = iter(self.draws.split([self.blocks, *(stage.draws for stage in self.stages)]))
        factor, names = next(tables).view(self.blocks, self.blocks), next(numbers)
        if x is None:
            state = self._prior(factor, names, seeds, first_index)
        else:
            state = (x,) if isinstance(x, Tensor) else tuple(x)
        if len(state) != self.blocks:
            raise OptionError(f"this plan has {self.blocks} block(s), got {len(state)} tensors as x")
        dtype = state[0].dtype
        clock = torch.promote_types(dtype, torch.float32)
        labels = iter(self.times.view(torch.float64).to(clock).view(-1, 1).expand(-1, state[0].shape[0]).unbind())
        for stage in self.stages:
            live = state
            if stage.sides:
                fed = [state[slot] for slot in stage.feed]
                live = (*state, *[said.to(dtype) for said in self._ask(fed, next(labels).contiguous(), stage.sides)])
            weights, draws = next(tables), next(numbers)
            made: Sequence[Tensor] = ()
            if stage.rows:
                weights = weights.view(stage.rows, len(stage.reads) + stage.draws)
                made = ops.affine([live[slot] for slot in stage.reads], weights, seeds, first_index, draws)
            state = (*made, *[live[slot] for slot in stage.keep])
        slot = self.result[0]
        return state[slot] if slot < self.stages[-1].rows else state[slot].clone()

    def _sizes(self) -> list[int]:
        return [self.blocks**2, *(stage.rows * (len(stage.reads) + stage.draws) for stage in self.stages)]

    def _prior(self, factor: Tensor, names: Tensor, seeds: Tensor, first_index: int) -> tuple[Tensor, ...]:
        if self.shape is None:
            raise OptionError("give x to start from, or the Sampler a shape, the batch first, for which it is drawn")
        normals = [ops.normal(self.shape, seeds, first_index, name, self.dtype) for name in names.split(1)]
        return inputs.prior(factor, normals)

    def _ask(self, blocks: Sequence[Tensor], times: Tensor, sides: tuple[bool, ...]) -> Sequence[Tensor]:
        """The output of each side; of two in one call of 2 B rows, unless the guidance is told to make two calls."""
        guided, cond = self.denoiser, self.core.cond
        if not isinstance(guided, Guided):
            return [self._call(blocks, times, cond)]
        batch = len(times)
        given = rows(cond, other_side(cond, guided.null, guided.shared), batch, guided.batched)
        if len(sides) == 1 or not guided.batched:
            return [self._call(blocks, times, given[0 if asked else 1]) for asked in sides]
        twice = [torch.cat([block, block]) for block in blocks]
        return self._call(twice, torch.cat([times, times]), joined(*given, batch, batch)).split(batch)

    def _call(self, blocks: Sequence[Tensor], times: Tensor, cond: Mapping[str, Any]) -> Tensor:
        if self.net is None:
            raise OptionError("this denoiser has no network: it can be planned with, not sampled from")
        calling = self.core.calling
        output = calling(self.net, blocks, times, cond)
        if calling.variance:
            output = calling.parted(output, blocks[0])[0]
        if output.shape != blocks[0].shape:
            raise NetworkError(
                f"the network returned shape {tuple(output.shape)}, its input has shape {tuple(blocks[0].shape)}; "
                f"both must be the same"
            )
        return output


def _structure(plan: Plan, denoiser: Any) -> tuple[int, tuple[Stage, ...], tuple[int, ...]]:
    stages = []
    if plan.noise != "white":
        raise IncompatibleError(f"{plan!r} draws {plan.noise} noise, a Sampler white noise only; use `sample`")
    for item in plan.items:
        if not isinstance(item, AffineStep):
            raise IncompatibleError(
                f"{item.part!r} is not a weighted sum of its inputs: it runs with `sample`, not in a Sampler"
            )
        stages.append(
            Stage(_sides(item, denoiser), item.feed, item.reads, len(item.weights), len(item.draws), item.keep)
        )
    return plan.blocks, tuple(stages), plan.result


def _sides(item: AffineStep, denoiser: Any) -> tuple[bool, ...]:
    if item.at is None:
        return ()
    if len(denoiser.mix(item.at)) != len(item.mix):
        raise _other_mix(item, denoiser)
    if len(item.mix) == 2:
        return (True, False)
    return (not isinstance(denoiser, Guided) or denoiser.weight.at(item.at) != 0.0,)


def _check_mix(plan: Plan, denoiser: Any) -> None:
    for item in plan.items:
        if isinstance(item, AffineStep) and item.at is not None and denoiser.mix(item.at) != item.mix:
            raise _other_mix(item, denoiser)


def _other_mix(item: AffineStep, denoiser: Any) -> OptionError:
    assert item.at is not None
    return OptionError(
        f"at t = {item.at.t:g} the plan adds the network's outputs up by {item.mix}, its guidance by "
        f"{denoiser.mix(item.at)}; make the plan with denoiser = the guide that the Sampler gets"
    )


def _tables(plan: Plan, denoiser: Any) -> dict[str, Tensor]:
    """The buffers: all numbers of a plan, item after item, the factor and the draws of the prior first.

    float64 numbers stand as the integers with their bits: Module.half() and Module.to(dtype) would round them.
    """
    if CONVENTIONS.get(denoiser.prediction) != CONVENTIONS.get(plan.prediction):
        raise OptionError(f"the network predicts {denoiser.prediction!r}, the plan is for {plan.prediction!r}")
    items = [item for item in plan.items if isinstance(item, AffineStep)]
    for item in items:
        if item.at is not None and (scale := denoiser.scale(item.at)) != item.scale:
            raise OptionError(
                f"at t = {item.at.t:g} the network wants its input times {scale:g}, the plan feeds it times "
                f"{item.scale:g}; make the plan with denoiser = the wrap that the Sampler gets"
            )
    weights = [w for row in plan.sde.prior(plan.grid[0].t) for w in row]
    weights += [w for item in items for w in item.table]
    draws = [draw_number(PRIOR, block=b) for b in range(plan.blocks)] + [d for item in items for d in item.draws]
    times = [denoiser.label(item.at) for item in items if item.at is not None]
    return {
        "weights": torch.tensor(weights, dtype=torch.float64, device="cpu").view(torch.int64),
        "draws": torch.tensor(draws, dtype=torch.int64, device="cpu"),
        "times": torch.tensor(times, dtype=torch.float64, device="cpu").view(torch.int64),
    }
