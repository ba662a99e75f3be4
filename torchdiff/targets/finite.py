"""The arithmetic of finite sets of points, and the files that they are read from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torchdiff import arrays
from torchdiff.errors import OptionError, shown
from torchdiff.targets.cloud import Cloud, uniform


class Points:
    """N points (N, D) float64 with equal weights, on each device that asked for them."""

    def __init__(self, points: Tensor) -> None:
        self.shape = tuple(points.shape[1:])
        self.flat = points.detach().reshape(len(points), -1).to("cpu", torch.float64)
        cloud = Cloud.of(self.flat, self.flat.new_ones(len(points)), 0.0)
        self._on = {self.flat.device: cloud}

    def draw(self, count: int, seed: Any, first_index: int) -> Tensor:
        u = uniform(count, 1, seed, first_index, call=0)[:, 0]
        return self.flat[(u * len(self.flat)).long().clamp(max=len(self.flat) - 1)]

    def posterior_mean(self, y: Tensor, sigma: Tensor) -> Tensor:
        if y.device not in self._on:
            self._on[y.device] = self._on[self.flat.device].to(y.device)
        return self._on[y.device].posterior_mean(y, sigma)

    def moments(self) -> tuple[Tensor, Tensor]:
        mean = self.flat.mean(0)
        away = self.flat - mean
        return mean, away.T @ away / len(away)

    def spectrum(self) -> tuple[Any, Any]:
        """As Target.spectrum; by the N x N products where the points are fewer than their coordinates."""
        count, dim = self.flat.shape
        mean = self.flat.mean(0)
        away = self.flat - mean
        _, values, axes = torch.linalg.svd(away, full_matrices=False)
        variances, along = values.square() / count, axes @ mean
        # what of the mean no axis sees lies along one more, of variance 0, as all that are left
        rest = (mean - along @ axes).norm()[None]
        padded = [torch.cat([part, mean.new_zeros(dim)]) for part in (variances, torch.cat([along, rest]))]
        return padded[0][:dim].numpy(), padded[1][:dim].numpy()


def read(data: Any) -> Tensor:
    """The points (N, *event) of a tensor, an array or a file. Raises OptionError naming what does not fit."""
    where = f"the file {shown(data)}" if isinstance(data, str) else "the data"
    try:
        x = _file(data) if isinstance(data, str) else torch.as_tensor(data)
    except OptionError:
        raise
    except Exception as error:  # each format has exceptions of its own for what is none of it
        raise OptionError(f"{where} cannot be read: {' '.join(str(error).split())}") from error
    if x.dim() < 2 or 0 in x.shape or not x.is_floating_point():
        raise OptionError(f"{where} should hold floats (N, *event), N >= 1; got {x.dtype} {tuple(x.shape)}")
    finite = x.reshape(len(x), -1).isfinite().all(1)
    if not bool(finite.all()):
        raise OptionError(
            f"{where} has nan or infinity in {int((~finite).sum())} of {len(x)} points, the first is point "
            f"{int((~finite).nonzero()[0, 0])}; leave them out"
        )
    return x


def _file(path: str) -> Tensor:
    found = arrays.read(path, ("x",), torch=True)
    if found is None:
        raise OptionError(f"data is a .safetensors, .npz or .npy file, a tensor or an array, got {shown(path)}")
    if "x" not in found:
        kind = "tensor" if path.endswith(".safetensors") else "array"
        raise OptionError(
            f"{shown(path)} has no {kind} x, but {', '.join(arrays.read(path, torch=True) or ()) or 'none'}"
        )
    return torch.as_tensor(found["x"])  # refuses what is no number
