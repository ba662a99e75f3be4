"""What is sampled in a bench: a network or an exact one, and the data that its samples are held against."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchdiff.bench.strata import ByClass
from torchdiff.errors import IncompatibleError, OptionError, StorageError, shown
from torchdiff.inputs import denoiser as meant
from torchdiff.metrics import Gauge
from torchdiff.registry import SDES, TARGETS
from torchdiff.sde.base import LinearSDE
from torchdiff.targets.base import principal

DEFAULT = 2  # of a target's metrics: the others say the same for more
WIDEST = 2048  # elements of an event whose covariance is decomposed for the exact error: a second on one core


@dataclass(frozen=True)
class Subject:
    """name: of it all; words: how a command line says it. denoiser: made for a process. shape: of an event.

    metrics:  their names, best first. gauge: of a metric, for so many samples.
    spectrum: () -> (eigenvalues, mean along the eigenvectors) of the data, for the exact error; None without.
    cond:     (first, count) -> the conditions of these samples.
    picked:   the numbers of the samples that are shown as pictures.
    digest:   of data from a file, so that other data are other cells; "" without.
    """

    name: str
    words: str
    denoiser: Callable[[LinearSDE], Any]
    shape: tuple[int, ...]
    metrics: tuple[str, ...]
    gauge: Callable[[str, int], Gauge]
    spectrum: Callable[[], tuple[Any, Any]] | None = None
    cond: Callable[[int, int], Mapping[str, Any]] = lambda first, count: {}
    picked: tuple[int, ...] = tuple(range(10))
    digest: str = ""


def of_target(name: Any) -> Subject:
    """A data law with its exact network. Raises UnknownNameError, OptionError or DependencyError."""
    target = TARGETS.get(name)
    label = TARGETS.label(target)
    words = f"--target {label}"
    return Subject(
        label, words, target.denoiser, target.shape, target.metrics[:DEFAULT], _gauge(target), target.spectrum
    )


def _gauge(real: Any) -> Callable[[str, int], Gauge]:
    return lambda metric, count: Gauge(metric, real, count)


def of_network(net: Any, name: str, data: Any, prediction: str | None) -> Subject:
    """A user's network, wrapped or with what it predicts, and data like those that it was trained on.

    data: (N, *shape), or the name of a file with them; see `load`.
    Raises OptionError, ConventionError or StorageError.
    """
    if data is None:
        raise OptionError("a network is judged by data: give --data FILE with real samples, as many as 2 x --count")
    bound = meant(net, prediction, None)
    real, digest = load(data) if isinstance(data, (str, Path)) else (data, "")
    if not isinstance(real, Tensor) or real.dim() < 2 or not real.is_floating_point():
        raise OptionError(f"data are (N, *shape) of floats, got {_kind(real)}")
    if not bool(real.isfinite().all()):
        raise OptionError(f"data must be finite; {int((~real.isfinite()).sum())} of {real.numel()} values are not")
    width = real[0].numel()
    spectrum = (lambda: _spectrum(real)) if width <= WIDEST else None
    words = f"--net {name} --data {data if digest else 'FILE'}"
    scores = ("sliced_w2", "energy")
    return Subject(name, words, lambda sde: bound, tuple(real.shape[1:]), scores, _gauge(real), spectrum, digest=digest)


def digits() -> Subject:
    """The shipped digits: network v under linear VP, sample i of digit i mod 10.

    Judged in the features of the shipped classifier, beside the 5000 real ones. Raises what torchdiff.zoo.digits does.
    """
    from torchdiff.wrapping import wrap
    from torchdiff.zoo import digits as zoo

    net, reference = wrap(zoo.unet(), "v"), zoo.reference()

    def labels(first: int, count: int) -> dict[str, Tensor]:
        return {"label": torch.arange(first, first + count) % 10}

    def denoiser(sde: LinearSDE) -> Any:
        if SDES.label(sde) != "vp":
            raise IncompatibleError(f"the digits' network was trained on vp, got {SDES.label(sde)}; leave --sde out")
        return net

    def gauge(metric: str, count: int) -> Gauge:
        return ByClass(metric, None, labels(0, count)["label"], reference["labels"].long())

    spectrum = (reference["spectrum"].double().numpy(), reference["mean"].double().numpy())
    return Subject("digits", "digits", denoiser, (1, 28, 28), ("frechet",), gauge, lambda: spectrum, labels)


PRESETS = {"digits": digits}


def load(path: str | Path) -> tuple[Tensor, str]:
    """(data (N, *shape) as float32 or float64, digest) of a .safetensors or .npz file with x, or of an .npy file.

    Raises StorageError for a file that cannot be read, OptionError for one without such a tensor.
    """
    place = Path(path)
    try:
        raw = place.read_bytes()
        found = _read(place, raw)
    except OptionError:
        raise
    except Exception as error:  # each format has exceptions of its own for what is none of it
        cause = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise StorageError(f"data {shown(str(path))} cannot be read: {cause}") from error
    if found.ndim < 2 or found.dtype.kind != "f" or not found.size:
        raise OptionError(
            f"data {shown(str(path))} are {found.dtype} {found.shape}; expected floats (N, *shape), N samples"
        )
    value = torch.from_numpy(np.ascontiguousarray(found))
    return value if value.dtype == torch.float64 else value.float(), hashlib.sha256(raw).hexdigest()[:16]


def _read(place: Path, raw: bytes) -> np.ndarray:
    import io

    if place.suffix == ".safetensors":
        from safetensors.numpy import load as read

        tensors: Any = read(raw)
    elif place.suffix == ".npz":
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            tensors = {name: file[name] for name in file.files if name != "metadata"}
    elif place.suffix == ".npy":
        tensors = {"x": np.load(io.BytesIO(raw), allow_pickle=False)}
    else:
        raise OptionError(f"data are a .safetensors, .npz or .npy file, got {shown(str(place))}")
    if "x" not in tensors and len(tensors) != 1:
        raise OptionError(f"{shown(str(place))} has no tensor x, but {', '.join(tensors) or 'none'}")
    return tensors["x"] if "x" in tensors else next(iter(tensors.values()))


def _spectrum(real: Tensor) -> tuple[Any, Any]:
    flat = real.detach().double().cpu().reshape(len(real), -1)
    return principal(flat.mean(0), torch.cov(flat.T).reshape(flat.shape[1], -1))


def _kind(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
