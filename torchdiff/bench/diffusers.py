"""Schedulers of diffusers in the same race: their code, our network and our starting noise."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from torchdiff.bench import peers
from torchdiff.bench.contenders import Contender, Ready, Scene
from torchdiff.errors import DependencyError, IncompatibleError, OptionError
from torchdiff.sde.base import Level, ScalarSDE

INDICES = 1000  # of their table of betas
TAKEN = {
    "trained_betas",
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "clip_sample",
    "invert_sigmas",
}
# what they call it, and its weights on x0 and eps at a level
TOLD = {
    "epsilon": lambda level: (0.0, 1.0),
    "sample": lambda level: (1.0, 0.0),
    "v_prediction": lambda level: (-level.sigma, level.alpha),
}


@dataclass(frozen=True)
class Scheduler(Contender):
    """A scheduler with options of its constructor: `diffusers:DPMSolverMultistepScheduler:use_karras_sigmas=true`.

    It gets a table of 1000 betas with the process's alpha at t = t_max (i + 1) / 1000 in place of one of its own, or on
    `flow` its sigmas, which are our t; the network is asked at the times that the scheduler names. A network of eps, x0
    or v answers in its own words, another is converted to eps. Samples are not clipped (clip_sample=False). Noise
    within a step is drawn by its own code, from a generator with the seed.
    """

    name: str
    options: peers.Options = ()
    gridded = False

    @property
    def spec(self) -> str:
        return peers.spec("diffusers", self.name, self.options)

    def ready(self, scene: Scene, way: str, count: int, grid: str | None) -> Ready:
        self._check(scene)
        with peers.theirs(self.spec):
            for steps in range(count, 0, -1):
                calls = len(self._build(scene, steps).timesteps)
                if way == "steps" or calls <= count:
                    return Ready("its own", steps, calls, None, {"steps": steps})
        raise OptionError(f"one step of {self.spec} costs more than {count} network calls")

    def sample(self, scene: Scene, ready: Ready, seed: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        bound = scene.denoiser.bind(scene.cond(first, count))
        random = torch.Generator(scene.device).manual_seed(peers.mixed(seed, first))
        with torch.no_grad(), peers.theirs(self.spec):
            scheduler = self._build(scene, ready.words["steps"])
            given = inspect.signature(scheduler.step).parameters
            more = {"generator": random} if "generator" in given else {}
            x = peers.start(scene, seed, first, count) * float(getattr(scheduler, "init_noise_sigma", 1.0))
            for step in scheduler.timesteps:
                level = self._level(scene, float(step))
                seen = scheduler.scale_model_input(x, step) if hasattr(scheduler, "scale_model_input") else x
                wish = (-1.0, 1.0) if self._flows else TOLD[self._told(scene)](level)
                said = peers.ask(scene, bound, seen, level)._read(*wish)
                x = scheduler.step(said, step, x, **more).prev_sample
        with torch.no_grad():
            return peers.ended(scene, x)

    @property
    def _flows(self) -> bool:
        return "FlowMatch" in self.name

    def _level(self, scene: Scene, step: float) -> Level:
        """The level that a timestep of theirs means."""
        t = step / INDICES if self._flows else scene.sde.t_max * (step + 1.0) / INDICES
        return scene.sde.level(min(max(t, 0.0), scene.sde.t_max))  # float32 times may be an ulp outside

    def _told(self, scene: Scene) -> str:
        """The word for what the scheduler is given: the user's, else the network's own, else eps."""
        asked = dict(self.options).get("prediction_type")
        if asked is not None:
            return asked
        level = scene.sde.level(0.5 * scene.sde.t_max)
        own = (word for word, wish in TOLD.items() if math.dist(scene.denoiser.meaning(level), wish(level)) < 1e-12)
        return next(own, "epsilon")

    def _check(self, scene: Scene) -> None:
        sde = scene.sde
        if not isinstance(sde, ScalarSDE):
            raise IncompatibleError(f"{self.spec} knows one-block processes only")
        if self._flows and sde.level(0.5)[1:] != (0.5, 0.5):
            raise IncompatibleError(f"{self.spec} knows the process flow only")
        if self._flows and sde.t_max != 1.0:
            raise IncompatibleError(
                f"{self.spec} begins at sigma = 1, and the process at t_max = {sde.t_max:g}; take 1"
            )
        for t in (0.25 * sde.t_max, 0.75 * sde.t_max):
            level = sde.level(t)
            if not self._flows and abs(level.alpha**2 + level.sigma**2 - 1.0) > 1e-9:
                raise IncompatibleError(f"{self.spec} has a table of betas: a process with alpha^2 + sigma^2 = 1 only")

    def _build(self, scene: Scene, steps: int) -> Any:
        import diffusers

        cls, words = getattr(diffusers, self.name), dict(self.options)
        if not self._flows:
            sde = scene.sde
            squares = [1.0, *(sde.level(sde.t_max * (i + 1) / INDICES).alpha ** 2 for i in range(INDICES))]
            betas = [1.0 - b / a for a, b in pairwise(squares)]
            words |= {"trained_betas": betas, "num_train_timesteps": INDICES}
            known = peers.options_of(cls)
            words |= {"prediction_type": self._told(scene)} if "prediction_type" in known else {}
            words |= {"clip_sample": False} if "clip_sample" in known else {}
        scheduler = cls(**words)
        scheduler.set_timesteps(steps, device=scene.device)
        return scheduler


def contender(text: str) -> Scheduler:
    """The scheduler of NAME or NAME:option=value,... Raises DependencyError, UnknownNameError or OptionError."""
    try:
        import diffusers
    except ImportError as error:
        raise DependencyError(f"diffusers is not installed ({error}); pip install diffusers") from error

    def find(name: str) -> type:
        return getattr(diffusers, name)

    known = sorted(word for word in dir(diffusers) if word.endswith("Scheduler") and not word.startswith("Flax"))
    name, options = peers.parsed("diffusers", text, known, find, TAKEN)
    if "FlowMatch" not in name and "trained_betas" not in peers.options_of(find(name)):
        raise IncompatibleError(f"{name} takes no table of betas, so that it cannot run on one of our processes")
    told = dict(options).get("prediction_type")
    if told is not None and told not in TOLD:
        raise OptionError(f"{name}: prediction_type is one of {', '.join(TOLD)}, got {told!r}")
    return Scheduler(name, options)
