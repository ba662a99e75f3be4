"""Samplers of azula in the same race: their code, our network and our starting noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchdiff.bench import peers
from torchdiff.bench.contenders import Contender, Ready, Scene
from torchdiff.errors import DependencyError, IncompatibleError, OptionError
from torchdiff.sde.base import ScalarSDE

SIGMA_MIN = 1e-3  # where its own schedules end; some of its samplers take the logarithm
TAKEN = {"denoiser", "steps", "silent", "dtype", "device", "sampler"}


@dataclass(frozen=True)
class Sampler(Contender):
    """A sampler with options of its constructor: `azula:xEABSampler:order=2`.

    Its times are azula's own: even from t_max to 0, or from `start` to `stop`. Times and schedule are float64, sigma is
    1e-3 at least. It gets the network's x0. Noise within a step is drawn by its own code, from torch's generator.
    """

    name: str
    options: peers.Options = ()
    gridded = False

    @property
    def spec(self) -> str:
        return peers.spec("azula", self.name, self.options)

    def ready(self, scene: Scene, way: str, count: int, grid: str | None) -> Ready:
        if not isinstance(scene.sde, ScalarSDE):
            raise IncompatibleError(f"{self.spec} knows one-block processes only")
        with peers.theirs(self.spec):
            for steps in range(count, 0, -1):
                calls = self._calls(scene, steps)
                if way == "steps" or calls <= count:
                    return Ready("its own", steps, calls, None, {"steps": steps})
        raise OptionError(f"one step of {self.spec} costs more than {count} network calls")

    def sample(self, scene: Scene, ready: Ready, seed: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        bound = scene.denoiser.bind(scene.cond(first, count))

        def x0(x: Tensor, t: float) -> Tensor:
            return peers.ask(scene, bound, x.to(scene.dtype), scene.sde.level(t)).x0

        sampler = self._build(scene, ready.words["steps"], x0)
        factor = scene.sde.prior(sampler.start)
        with peers.theirs(self.spec), torch.random.fork_rng():
            torch.manual_seed(peers.mixed(seed, first))
            scale = factor[0][0] if isinstance(factor, tuple) else factor
            x = sampler(peers.start(scene, seed, first, count) * scale)
        with torch.no_grad():
            return peers.ended(scene, x)

    def _calls(self, scene: Scene, steps: int) -> int:
        """Network calls of a run: one on a single zero, counted."""
        seen = []

        def x0(x: Tensor, t: float) -> Tensor:
            seen.append(t)
            return torch.zeros_like(x)

        with torch.random.fork_rng():
            self._build(scene, steps, x0)(torch.zeros(1, 1))
        return len(seen)

    def _build(self, scene: Scene, steps: int, x0: Any) -> Any:
        import azula.sample  # pyright: ignore[reportMissingImports]
        from azula.denoise import Denoiser, DiracPosterior  # pyright: ignore[reportMissingImports]

        def schedule(t: Tensor) -> tuple[Tensor, Tensor]:
            levels = [scene.sde.level(float(time)) for time in t.reshape(-1)]
            pairs = ([level.alpha for level in levels], [max(level.sigma, SIGMA_MIN) for level in levels])
            return tuple(torch.tensor(v, dtype=torch.float64).reshape(t.shape) for v in pairs)  # pyright: ignore[reportReturnType]

        class Net(Denoiser):
            def __init__(self) -> None:
                super().__init__()
                self.schedule = schedule  # pyright: ignore[reportAttributeAccessIssue]

            def forward(self, x: Tensor, t: Tensor) -> Any:
                return DiracPosterior(x0(x, float(t)))

        words = {"start": scene.sde.t_max, "stop": 0.0} | dict(self.options)
        cls = getattr(azula.sample, self.name)
        return cls(Net(), steps=steps, silent=True, dtype=torch.float64, **words)


def contender(text: str) -> Sampler:
    """The sampler of NAME or NAME:option=value,... Raises DependencyError, UnknownNameError or OptionError."""
    try:
        import azula.sample  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DependencyError(
            f"azula is not installed ({error}); pip install --no-deps azula==0.11.1 einops"
        ) from error
    base = azula.sample.Sampler
    known = {word: c for word, c in vars(azula.sample).items() if isinstance(c, type) and issubclass(c, base)}
    del known["Sampler"]
    return Sampler(*peers.parsed("azula", text, sorted(known), known.__getitem__, TAKEN))
