"""What is sampled in a bench: a network or an exact one, and the data that its samples are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchdiff.bench import data as files
from torchdiff.bench.conditions import NONE, conditions
from torchdiff.bench.latents import shaped
from torchdiff.bench.strata import ByClass
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.inputs import denoiser as meant
from torchdiff.metrics import Gauge
from torchdiff.registry import SDES, TARGETS
from torchdiff.sde.base import LinearSDE
from torchdiff.spectra import pca

DEFAULT = 2  # of a target's metrics: the others say the same for more
WIDEST = 2048  # elements of an event whose covariance is decomposed for the exact error: a second on one core


@dataclass(frozen=True)
class Subject:
    """name: of it all; words: how a command line says it. denoiser: made for a process. shape: of what it samples.

    metrics:  their names, best first. gauge: of a metric, for so many samples.
    spectrum: () -> (eigenvalues, mean along the eigenvectors) of the data, for the exact error; None without.
    cond:     (first, count) -> the conditions of these samples.
    picked:   the numbers of the samples that are shown as pictures.
    data, conditions: digests of what a user brought, so that other numbers are other cells; "" without.
    event:    what latents are decoded to; () where there are none.
    """

    name: str
    words: str
    denoiser: Callable[[LinearSDE], Any]
    shape: tuple[int, ...]
    metrics: tuple[str, ...]
    gauge: Callable[[str, int], Gauge]
    spectrum: Callable[[], tuple[Any, Any]] | None = None
    cond: Callable[[int, int], dict[str, Any]] = lambda first, count: {}
    picked: tuple[int, ...] = tuple(range(10))
    data: str = ""
    conditions: str = ""
    event: tuple[int, ...] = ()


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


def of_network(net: Any, name: str, data: Any, prediction: str | None, cond: Any, shape: Any) -> Subject:
    """A user's network, wrapped or with what it predicts, and data like those that it was trained on.

    data: as `data.real` reads it. cond: as `conditions` reads it. shape: of a latent, as `latents.shaped` reads it.
    Raises OptionError, ConventionError or StorageError.
    """
    if data is None:
        raise OptionError("a network is judged by data: give --data FILE with real samples, as many as 2 x --count")
    bound = meant(net, prediction, None)
    real, beside = files.real(data)
    rows, known = conditions(cond, beside, len(real))
    event = tuple(real.shape[1:])
    place, latent = shaped(bound, shape, event), bound.latent is not None
    # of a latent network the exact error would be that of the latents, whose law nobody has told
    spectrum = (lambda: pca(real)) if real[0].numel() <= WIDEST and not latent else None
    words = f"--net {name} --data {_said(data)}{'' if cond is None else f' --cond {_said(cond)}'}"
    words += f" --shape {','.join(map(str, place))}" if latent else ""
    return Subject(
        name, words, lambda sde: bound, place, ("sliced_w2", "energy"), _gauge(real), spectrum, rows,
        data=files.digest({"x": real}), conditions=known, event=event,
    )  # fmt: skip


def _said(given: Any) -> str:
    """How a command line says it: by the name of its file, if it has one."""
    return str(given) if isinstance(given, (str, Path)) else NONE if given == {} else "FILE"


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
