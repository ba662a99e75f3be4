"""The shipped digit networks, the reference features of real digits, and the distance between two sets of features."""

from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from torchdiff.zoo.classifier import Classifier
from torchdiff.zoo.unet import UNet

WEIGHTS = Path(__file__).parent / "weights"
REFERENCE = {"features": (5000, 64), "labels": (5000,), "held_out": (5000,), "spectrum": (784,), "mean": (784,)}
N = TypeVar("N", bound=nn.Module)


def read(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, floating ones as float32, after a check of names, shapes and finite values.

    Raises FileNotFoundError for a missing file, ValueError naming file and tensor for one that does not fit.
    """
    remedy = f"Reinstall torchdiff-sde, or make new ones: python -m torchdiff.zoo.train --weights {path.parent}"
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}. {remedy}")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}). {remedy}") from error
    for name, shape in shapes.items():
        if name not in found:
            raise ValueError(f"{path} has no tensor {name!r}; expected one of shape {shape}. {remedy}")
        if tuple(found[name].shape) != tuple(shape):
            raise ValueError(
                f"{path}: tensor {name!r} has shape {tuple(found[name].shape)}, expected {tuple(shape)}. {remedy}"
            )
        if not found[name].isfinite().all():
            raise ValueError(f"{path}: tensor {name!r} has values that are not finite. {remedy}")
    if extra := found.keys() - shapes.keys():
        raise ValueError(f"{path} has unexpected tensors {sorted(extra)}; expected only {sorted(shapes)}. {remedy}")
    return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}


def filled(net: N, path: Path) -> N:
    """The network with the file's weights, in eval mode, without gradients, channels last (a third faster on CPUs)."""
    net.load_state_dict(read(path, {name: value.shape for name, value in net.state_dict().items()}))
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def unet(folder: Path = WEIGHTS) -> UNet:
    """net(x (B, 1, 28, 28), t (B,), label (B,) int64 or None) -> v; linear VP process, data in [-1, 1], float32.

    Labels are 0..9; 10, or None, is the null class. Raises what `read` raises.
    """
    return filled(UNet(), Path(folder) / "unet.safetensors")


def classifier(folder: Path = WEIGHTS) -> Classifier:
    """net(x (B, 1, 28, 28)) -> logits (B, 10), net.features(x) -> (B, 64), float32. Raises what `read` raises."""
    return filled(Classifier(), Path(folder) / "classifier.safetensors")


def reference(folder: Path = WEIGHTS) -> dict[str, Tensor]:
    """What the 5000 real images leave behind, so that the data are not needed.

    features (5000, 64) float32, as the classifier sees them (rounded to float16 on disk); labels (5000,) uint8;
    held_out (5000,) bool, the 1000 that the classifier was not trained on; spectrum (784,) float32, the eigenvalues of
    the images' covariance, largest first, images in [-1, 1]; mean (784,) float32, their mean along the eigenvectors.
    Raises what `read` raises.
    """
    return read(Path(folder) / "reference.safetensors", REFERENCE)


def frechet(a: Tensor, b: Tensor) -> float:
    """The squared Wasserstein-2 distance of the Gaussians with the two sets' means and covariances, in float64.

        |mean_a - mean_b|^2 + tr(C_a) + tr(C_b) - 2 |C_a^(1/2) C_b^(1/2)|_nuclear

    a (n, D), b (m, D): features, n, m >= 2. Biased upwards for small n: compare with `frechet_floor(n)` only.
    Not the Inception distance (FID), nor comparable to one.
    Raises ValueError for other shapes and for values that are not finite.
    Source: Dowson & Landau 1982, J. Multivariate Analysis 12, 450; tr (A B)^(1/2) = |A^(1/2) B^(1/2)|_nuclear.
    """
    if a.ndim != 2 or b.ndim != 2 or min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            "frechet: expected two matrices (n, D), (m, D) with n, m >= 2, such as classifier().features(images); "
            f"got a {tuple(a.shape)}, b {tuple(b.shape)}."
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        name = "b" if a.isfinite().all() else "a"
        raise ValueError(f"frechet: {name} has values that are not finite; mend or leave out those samples first.")
    a, b = a.double(), b.double()
    cov = [torch.cov(value.T).reshape(value.shape[1], -1) for value in (a, b)]
    gap = (a.mean(0) - b.mean(0)).square().sum() + cov[0].trace() + cov[1].trace()
    # A distance is not negative; for equal sets the difference is rounding, of either sign, 1e-14 of the traces.
    return max(0.0, (gap - 2 * torch.linalg.svdvals(root(cov[0]) @ root(cov[1])).sum()).item())


def root(covariance: Tensor) -> Tensor:
    """The symmetric square root (D, D) of a covariance (D, D) float64; eigenvalues that round below 0 count as 0."""
    values, axes = torch.linalg.eigh(covariance)
    return axes * values.clamp(min=0).sqrt() @ axes.T


def frechet_floor(count: int, repeats: int = 8, seed: int = 0, folder: Path = WEIGHTS) -> tuple[float, float]:
    """Mean and standard deviation over random draws of frechet(count real images, the other real images).

    The draws hold equally many of each digit, as samples do that were asked for so. This is what perfect samples score.
    Raises ValueError unless count is a multiple of 10 from 20 to 2500.
    """
    if count % 10 or not 20 <= count <= 2500:
        raise ValueError(
            f"frechet_floor: count must be a multiple of 10 from 20 to 2500 (half of the real images), got {count}."
        )
    real = reference(folder)
    features, random = real["features"], torch.Generator().manual_seed(seed)
    by_digit = [torch.nonzero(real["labels"] == digit)[:, 0] for digit in range(10)]
    distances = []
    for _ in range(repeats):
        rows = torch.cat([own[torch.randperm(len(own), generator=random)[: count // 10]] for own in by_digit])
        rest = torch.ones(len(features), dtype=torch.bool).index_fill(0, rows, False)
        distances.append(frechet(features[rows], features[rest]))
    spread = torch.tensor(distances, dtype=torch.float64)
    return spread.mean().item(), spread.std().item()
