"""What competes in a bench: our solvers, and the samplers of other libraries behind the same two methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdiff import auto
from torchdiff.grids import default_grid
from torchdiff.plans import Plan
from torchdiff.registry import GRIDS, SOLVERS
from torchdiff.remembered import planned
from torchdiff.sampling import sample
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import Solver


@dataclass(frozen=True)
class Scene:
    """What all contenders share: the process, the network, and what it is asked for.

    shape: of an event. cond(first, count): the conditions of these samples. spectrum: of the data, as Subject has it.
    """

    sde: LinearSDE
    denoiser: Any
    shape: tuple[int, ...]
    cond: Callable[[int, int], Mapping[str, Any]]
    dtype: torch.dtype
    device: torch.device
    spectrum: Callable[[], tuple[Any, Any]] | None = None


class Ready(NamedTuple):
    """A run that can be made. calls: the network calls that it promises, None where it chooses them on the way.

    chose: "solver on grid" of a contender that chooses them for each budget, else "".
    """

    grid: str
    steps: int
    calls: int | None
    plan: Plan | None
    words: Mapping[str, Any]
    chose: str = ""


class Contender(ABC):
    """spec: its name with options, the label in all tables. gridded: whether it runs on our grids."""

    spec: str
    gridded: bool

    @abstractmethod
    def ready(self, scene: Scene, way: str, count: int, grid: str | None) -> Ready:
        """The run with `count` steps, or with at most `count` network calls (way: "steps" or "calls").

        Raises an error of the ValueError family that says why there is none: the bench lists it as left out.
        """

    @abstractmethod
    def sample(self, scene: Scene, ready: Ready, seed: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        """(samples (count, *shape), finite (count,)): those with the numbers first, first + 1, ... of the seed.

        The noise that sample i starts from is `torchdiff.sample`'s for (seed, i), whoever runs.
        """


@dataclass(frozen=True)
class Ours(Contender):
    """A registered solver."""

    solver: Solver
    gridded = True

    @property
    def spec(self) -> str:
        return SOLVERS.label(self.solver)

    def ready(self, scene: Scene, way: str, count: int, grid: str | None) -> Ready:
        chosen = default_grid(scene.sde, scene.sde.t_max, scene.sde.t_min) if grid is None else GRIDS.get(grid)
        label = GRIDS.label(chosen)
        if getattr(chosen, "spectrum", None) == "data" and scene.spectrum is not None:
            chosen = replace(chosen, spectrum=scene.spectrum())  # pyright: ignore[reportArgumentType]
        plan = self._planned(scene, {way: count, "grid": None if grid is None else chosen})
        # a run is by its times: a grid that is computed for seconds, or for data, is then at hand
        times = tuple(level.t for level in plan.grid[: len(plan.grid) - plan.final])
        return Ready(label, plan.steps, plan.calls, self._planned(scene, {"times": times}), {"times": times})

    def _planned(self, scene: Scene, given: dict[str, Any]) -> Plan:
        """The plan, which `sample` with the same words finds again without any time of its own."""
        names = ("steps", "calls", "times", "sigmas", "grid", "t_min", "t_max", "final")
        words: dict[str, Any] = dict.fromkeys(names) | {"noise": "white"} | given
        return planned(scene.sde, self.solver, scene.denoiser, False, **words)

    def sample(self, scene: Scene, ready: Ready, seed: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        done = sample(
            scene.denoiser,
            scene.sde,
            self.solver,
            **ready.words,
            shape=(count, *scene.shape),
            seed=seed,
            first_index=first,
            cond=scene.cond(first, count),
            dtype=scene.dtype,
            device=scene.device,
            on_nonfinite="mark",
        )
        return done.x, done.finite


class Auto(Contender):
    """What `sample` takes by default: at each budget the solver and grid that it names."""

    spec = auto.AUTO
    gridded = False

    def ready(self, scene: Scene, way: str, count: int, grid: str | None) -> Ready:
        row = auto.way(scene.sde, count)
        chosen = Ours(SOLVERS.get(row.solver)).ready(scene, way, count, row.grid)
        return chosen._replace(grid="its own", chose=f"{row.solver} on {row.grid}")

    def sample(self, scene: Scene, ready: Ready, seed: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        assert ready.plan is not None
        return Ours(ready.plan.solver).sample(scene, ready, seed, first, count)
