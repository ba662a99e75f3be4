"""The loop that samples: a plan executed on tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchdiff import noise, ops
from torchdiff.blocks import pack, unpack
from torchdiff.counters import PRIOR, STEP, draw_number
from torchdiff.errors import OptionError
from torchdiff.execute import execute
from torchdiff.grids import Grid
from torchdiff.guard import Guard
from torchdiff.planner import request
from torchdiff.plans import Plan
from torchdiff.predict import Denoiser, read, wrap
from torchdiff.progress import bar
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.base import Solver
from torchdiff.steps import AffineStep, OpaqueStep

Seed = int | Sequence[int] | Tensor
See = Callable[[int, Level, Any], None]


@dataclass(frozen=True)
class Samples:
    """What `sample` returns.

    x:          the samples (B, *event); for a block SDE the position.
    state:      all blocks of the state: (x,), or (x, v) for CLD.
    seed:       the seed that was used: what makes the same samples again, drawn for you if you gave none.
    finite:     (B,) bool: samples for which the network never returned a value that is not finite.
    trajectory: (intervals + 1, B, *event), the position at each level of plan.grid; None unless asked for.
    plan:       what was executed; noise_version: the version of the map from seeds to normals.
    """

    x: Tensor
    state: tuple[Tensor, ...]
    seed: Any
    first_index: int
    finite: Tensor
    trajectory: Tensor | None
    plan: Plan
    noise_version: int = noise.NOISE_VERSION

    def __repr__(self) -> str:
        return f"Samples(x={tuple(self.x.shape)} {self.x.dtype}, seed={self.seed!r}, {self.plan!r})"


def sample(
    net: Callable[..., Tensor] | Denoiser,
    sde: LinearSDE | str,
    solver: Solver | str,
    *,
    steps: int | None = None,
    calls: int | None = None,
    times: Iterable[float] | None = None,
    grid: Grid | str | None = None,
    shape: Sequence[int] | None = None,
    x: Tensor | Sequence[Tensor] | None = None,
    prediction: str | None = None,
    seed: Seed | None = None,
    first_index: int = 0,
    t_min: float | None = None,
    t_max: float | None = None,
    final: str | None = None,
    cond: Mapping[str, Any] | None = None,
    callback: See | None = None,
    trajectory: bool = False,
    progress: bool | str = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    on_nonfinite: str = "raise",
    grad: bool = False,
) -> Samples:
    """Turn a trained network into samples.

    net:         called net(x, t, **cond), for an n-block SDE net(x, v, t, **cond); x (B, *event), t (B,); or a `wrap`.
    sde, solver: objects, or registered names with options: "vp", "ddim:eta=0.5", "predictor_corrector:predictor=heun".
    steps, calls, times, grid, t_min, t_max, final: as in `plan`.
    shape:       of the samples, the batch first, any event shape; or x: the state to start from (B, *event), one or
                 one tensor for each block, at the first time. With increasing times x is data and is encoded.
    prediction:  "eps", "x0", "v", "score" or "flow": what net returns. A `wrap` knows it already.
    seed:        an integer; a sequence of B (sample i is then what that seed alone gives); None draws one, kept in
                 the result. Sample i is a function of (seed, first_index + i) only, whatever the batch around it.
    cond:        keyword arguments for every network call.
    callback:    called with (interval, level reached, x) after each interval; x is a tensor, or Blocks of them.
    trajectory:  keep x at every level of the grid. progress: a bar that counts network calls, a string names it.
    dtype:       of the state, float32 by default. device: by default that of x, else of the network's parameters.
    on_nonfinite: what to do when the network returns nan or infinity: "raise" NonFiniteError naming step, t and the
                 first sample (at once on a CPU, at the end on an accelerator), "mark" them in the result, "ignore".
    grad:        record the computation for autograd; without it the run takes no memory per step.
    Returns Samples. Raises errors of the ValueError family that say what came and what was expected.
    """
    denoiser = _denoiser(net, prediction, cond or {})
    wish = request(
        sde, solver, denoiser, steps=steps, calls=calls, times=times, grid=grid, t_min=t_min, t_max=t_max, final=final
    )
    plan = wish.trace(denoiser, watch=trajectory or callback is not None)
    if wish.grid[0].t < wish.grid[-1].t and x is None:
        raise OptionError("increasing times encode data: give it as x")
    start, batch_shape, place = _place(plan, net, shape, x, dtype, device)
    seed = noise.fresh_seed() if seed is None else seed
    with torch.set_grad_enabled(grad):
        run = _Run(plan, denoiser, seed, first_index, batch_shape, place, on_nonfinite)
        first = run.prior() if start is None else start
        frames = [first[0]] if trajectory else []

        def after(step: int, blocks: tuple[Tensor, ...]) -> None:
            if trajectory:
                frames.append(blocks[0])
            if callback is not None:
                callback(step, plan.grid[step + 1], pack(blocks))

        with bar(plan.calls, progress) as run.tick:
            state = run.execute(first, after)
        finite = run.guard.finish()
    return Samples(state[0], state, seed, first_index, finite, torch.stack(frames) if trajectory else None, plan)


class _Run:
    """One execution of a plan: weights as tensors, seeds, and the guard against values that are not finite."""

    def __init__(
        self,
        plan: Plan,
        denoiser: Denoiser,
        seed: Seed,
        first_index: int,
        shape: tuple[int, ...],
        place: Any,
        mode: str,
    ) -> None:
        self.plan, self.denoiser, self.shape = plan, denoiser, shape
        self.dtype, self.device = place
        if isinstance(first_index, bool) or not isinstance(first_index, int) or first_index < 0:
            raise OptionError(f"first_index must be a whole number >= 0, got {first_index!r}")
        self.first_index = first_index
        self.seeds = noise.as_seeds(seed, shape[0]).to(self.device)
        self.tables = [_tables(item, self.device) for item in plan.items]
        self.guard = Guard(mode, shape[0], self.device)
        self.pasts: dict[int, tuple[Any, ...]] = {}
        self.tick: Callable[[], None] = lambda: None

    def normal(self, draw: int) -> Tensor:
        number = torch.tensor([draw], dtype=torch.int64, device=self.device)
        return ops.normal(self.shape, self.seeds, self.first_index, number, self.dtype)

    def prior(self) -> tuple[Tensor, ...]:
        factor = self.plan.sde.prior(self.plan.grid[0].t)
        normals = [self.normal(draw_number(PRIOR, block=block)) for block in range(self.plan.blocks)]
        return unpack(factor @ pack(normals))

    def execute(self, start: tuple[Tensor, ...], after: Callable[..., None]) -> tuple[Tensor, ...]:
        return execute(self.plan, start, self.network, self.combine, self.opaque, after)

    def network(self, inputs: Sequence[Tensor], level: Level, step: int) -> Sequence[Tensor]:
        outputs = self.denoiser(*inputs, level)
        for output in outputs:
            self.guard.look(output, level, step)
        self.tick()
        return outputs

    def combine(self, index: int, step: AffineStep, tensors: list[Tensor]) -> Sequence[Tensor]:
        weights, draws = self.tables[index]
        return ops.affine(tensors, weights, self.seeds, self.first_index, draws)

    def opaque(self, item: OpaqueStep, x: Any) -> Any:
        """A step of any solver, on tensors; what it remembers is kept here, by its place in the chain."""

        def predict(x: Any, level: Level) -> Any:
            scale = self.denoiser.scale(level)
            outputs = self.network([b * scale if scale != 1.0 else b for b in unpack(x)], level, item.step)
            return read(self.plan.sde, self.denoiser, x, tuple(outputs), level)

        calls = iter(range(1 << 30))

        def normals(start: Level, end: Level) -> Any:
            call = next(calls)
            blocks = range(self.plan.blocks)
            return pack(self.normal(draw_number(STEP, item.step, item.index, call, block)) for block in blocks)

        past = self.pasts.get(item.index, ())
        result = item.part.step(x, item.span._replace(past=past), predict, normals)
        if hasattr(result, "memo"):
            self.pasts[item.index] = (result.memo, *past)[: item.part.memory]
            result = result.x
        return result


def _tables(item: AffineStep | OpaqueStep, device: torch.device) -> tuple[Tensor, Tensor]:
    if isinstance(item, OpaqueStep):
        return torch.empty(0), torch.empty(0)
    rows = [[*weights, *fresh] for weights, fresh in zip(item.weights, item.noise, strict=True)]
    weights = torch.tensor(rows, dtype=torch.float64, device=device)
    return weights, torch.tensor(item.draws, dtype=torch.int64, device=device)


def _denoiser(net: Any, prediction: str | None, cond: Mapping[str, Any]) -> Denoiser:
    """The network with its meaning; a wrap knows what it predicts, and a second opinion that differs is an error."""
    if isinstance(net, Denoiser) or hasattr(net, "meaning"):
        if prediction not in (None, net.prediction):
            raise OptionError(f"net is wrapped as predicting {net.prediction!r}, prediction = {prediction!r} differs")
        return net.bind(cond) if cond else net
    if prediction is None:
        raise OptionError("say what the network predicts: prediction = 'eps', 'x0', 'v', 'score' or 'flow'")
    return wrap(net, prediction).bind(cond)


def _place(
    plan: Plan, net: Any, shape: Sequence[int] | None, x: Any, dtype: torch.dtype | None, device: Any
) -> tuple[tuple[Tensor, ...] | None, tuple[int, ...], tuple[torch.dtype, torch.device]]:
    """The starting blocks if x was given, the shape of a block, and (dtype, device) of the state."""
    if (shape is None) == (x is None):
        raise OptionError("give shape (batch first) or x to start from, one of the two")
    if x is None:
        assert shape is not None
        if not all(hasattr(n, "__index__") and n >= 0 for n in shape) or len(shape) == 0:
            raise OptionError(f"shape holds whole numbers >= 0, the batch first, got {tuple(shape)!r}")
        place = (dtype or torch.float32, torch.device(device) if device is not None else _device(net))
        _check_dtype(place[0])
        return None, tuple(int(n) for n in shape), place
    blocks = (x,) if isinstance(x, Tensor) else tuple(x)
    if len(blocks) != plan.blocks or not all(isinstance(b, Tensor) for b in blocks):
        raise OptionError(f"{plan.sde!r} has {plan.blocks} blocks: x must be as many tensors, got {len(blocks)}")
    if any(b.shape != blocks[0].shape for b in blocks) or blocks[0].dim() == 0:
        raise OptionError(
            f"x needs a batch dimension and one shape for all blocks, got {[tuple(b.shape) for b in blocks]}"
        )
    place = (dtype or blocks[0].dtype, torch.device(device) if device is not None else blocks[0].device)
    _check_dtype(place[0])
    return tuple(b.to(dtype=place[0], device=place[1]) for b in blocks), tuple(blocks[0].shape), place


def _check_dtype(dtype: Any) -> None:
    if dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise OptionError(f"the state is float32, float64, float16 or bfloat16, got {dtype}")


def _device(net: Any) -> torch.device:
    module = getattr(net, "net", net)
    parameters = module.parameters() if isinstance(module, torch.nn.Module) else iter(())
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device
