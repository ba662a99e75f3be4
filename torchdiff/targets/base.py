"""What a data law must know of itself. No torch here: `torchdiff list` reads these classes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from torchdiff.errors import OptionError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from torchdiff.denoiser import Denoiser
    from torchdiff.sde.base import LinearSDE

FAR = 1e100  # noise so large that the posterior is the law itself to all digits, and squares are still finite


class Target(ABC):
    """A law of data x0 with its posterior mean in closed form: all that an exact score needs.

    A target gives shape, draw, posterior_mean and moments; register it by @TARGETS.register("name").
    metrics: names of the metrics that suit it, best first.
    """

    metrics: ClassVar[tuple[str, ...]] = ("sliced_w2", "energy")

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The event shape; D is its product."""

    @abstractmethod
    def draw(self, count: int, seed: Any, first_index: int) -> Tensor:
        """(count, D) float64; row i depends on (seed, first_index + i) only."""

    @abstractmethod
    def posterior_mean(self, y: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x0 + sigma eps = y]: y (B, D) float64, sigma (B,) float64 in [0, FAR), 0 the limit; (B, D)."""

    def posterior_shift(self, y: Tensor, sigma: Tensor) -> Tensor:
        """posterior_mean - y: override it where that can be had without the difference, which small noise would see."""
        return self.posterior_mean(y, sigma) - y

    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of the law, float64."""

    def sample(self, count: int, seed: int | Sequence[int] | Tensor = 0, first_index: int = 0) -> Tensor:
        """(count, *shape) float64 samples of the law; row i is a function of (seed, first_index + i) alone.

        The draws are not those of `torchdiff.sample` with the same seed.
        Raises OptionError for a count below 0 and an index outside [0, 2^63).
        """
        from torchdiff import inputs

        if isinstance(count, bool) or not hasattr(count, "__index__") or count < 0:
            raise OptionError(f"count is a whole number of samples, got {shown(count)}")
        return self.draw(int(count), seed, inputs.index(first_index)).reshape(count, *self.shape)

    def reference(self, count: int, seed: int = 0) -> Tensor:
        """(M, *shape) float64 rows to compare samples with: `count` samples, or all points of a finite set."""
        return self.sample(count, seed)

    def denoise(self, y: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x0 + sigma eps = y]: the exact denoiser.

        y: (B, *shape), any floating dtype, device its own. sigma: (B,) or a number, in [0, inf]; at 0 the limit from
        above, at inf the mean of the law whatever y is.
        Returns (B, *shape) float64. Raises OptionError for another shape and for a sigma that is negative or nan.
        """
        return self._asked(self.posterior_mean, y, sigma, 0.0)

    def shift(self, y: Tensor, sigma: Tensor | float) -> Tensor:
        """denoise(y, sigma) - y = sigma^2 times the score at y, with the digits that the difference would lose.

        As `denoise`; at sigma = inf it is the mean less y.
        """
        return self._asked(self.posterior_shift, y, sigma, 1.0)

    def _asked(self, ask: Callable[..., Tensor], y: Tensor, sigma: Tensor | float, less: float) -> Tensor:
        """ask(y (B, D), sigma (B,)) where sigma < FAR, and the mean - less * y beyond."""
        import torch

        if y.dim() == 0 or tuple(y.shape[1:]) != self.shape or not y.is_floating_point():
            event = ", ".join(map(str, self.shape))
            raise OptionError(f"y is (B, {event}) of floats, got {tuple(y.shape)} {y.dtype}")
        noise = torch.as_tensor(sigma, dtype=torch.float64, device=y.device)
        if noise.shape not in ((), y.shape[:1]) or not bool((noise >= 0.0).all()):
            raise OptionError(f"sigma is a number or ({len(y)},), none of them negative, got {shown(sigma)}")
        noise, flat = noise.expand(len(y)), y.double().reshape(len(y), math.prod(self.shape))
        far = noise >= FAR
        if bool(far.any()):
            mean = self.moments()[0].to(y.device)
            near = ask(torch.where(far[:, None], mean, flat), noise.masked_fill(far, 1.0))
            return torch.where(far[:, None], mean - less * flat, near).reshape(y.shape)
        return ask(flat, noise).reshape(y.shape)

    def denoiser(self, sde: LinearSDE | str, prediction: str | None = None) -> Denoiser:
        """The exact network for this law under a linear SDE of any number of blocks: what `torchdiff.sample` takes.

        prediction: "v" by default, which says x0 and eps at every level to all digits; "eps", "x0", "flow" or "score"
        say the same elsewhere. For an SDE of blocks "score" of the last block, the default, "eps" or "mixed_score".
        Raises OptionError for a prediction that it has no words for.
        """
        from torchdiff.targets.network import exact_denoiser

        return exact_denoiser(self, sde, prediction)

    def spectrum(self) -> tuple[Any, Any]:
        """Eigenvalues (D,) of the law's covariance, largest first, and its mean along the eigenvectors, NumPy float64.

        What `torchdiff.gaussian` and the optimal grids take for data.
        """
        return principal(*self.moments())


def principal(mean: Tensor, covariance: Tensor) -> tuple[Any, Any]:
    """Eigenvalues (D,), largest first, below 0 by rounding 0, and the mean along the eigenvectors; NumPy float64."""
    import torch

    values, axes = torch.linalg.eigh(covariance)
    return values.clamp(min=0.0).flip(0).numpy(), (mean @ axes).flip(0).numpy()
