"""Networks that sample latents: their samples are decoded before they are judged."""

from __future__ import annotations

from typing import Any

import torch

from torchdiff.bench import peers
from torchdiff.bench.contenders import Scene
from torchdiff.bench.data import kind
from torchdiff.errors import OptionError, shown


def shaped(denoiser: Any, given: Any, event: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what the network samples: of the data, for a latent network the given one of a latent.

    Raises OptionError for a latent network without it, and for one that another network cannot have.
    """
    latent = denoiser.latent is not None
    if given is None:
        if latent:
            raise OptionError("a latent network samples latents: give their shape, one sample's, as shape=(4, 8, 8)")
        return event
    whole = isinstance(given, (tuple, list, torch.Size)) and all(type(n) is int and n > 0 for n in given)
    if not whole or not given:
        raise OptionError(f"shape is of one latent, whole numbers from 1 on as in (4, 8, 8), got {shown(given)}")
    if not latent and tuple(given) != event:
        raise OptionError(
            f"shape {tuple(given)} is not that of the data, {event}; only a network that is wrapped with latent= "
            "samples in another shape"
        )
    return tuple(given)


def fits(scene: Scene, event: tuple[int, ...]) -> None:
    """Raises OptionError where a latent network or its decoder fails on one latent of the scene's shape, at half time,
    or where what is decoded does not have the shape of the data."""
    latent = scene.denoiser.latent
    if latent is None:
        return
    z, level = peers.start(scene, 0, 0, 1), scene.sde.level(0.5 * scene.sde.t_max)
    what = f"shape {scene.shape} does not fit: "
    with torch.no_grad():
        try:
            scene.denoiser.bind(scene.cond(0, 1))(*[z] * scene.sde.blocks, level)
        except Exception as error:  # a network's own, of any kind
            raise OptionError(f"{what}the network fails on one latent: {type(error).__name__}: {error}") from error
        try:
            x = latent.decoded(z)
        except Exception as error:
            raise OptionError(f"{what}the decoder fails on one latent: {type(error).__name__}: {error}") from error
    if tuple(x.shape[1:]) != event or not x.is_floating_point():
        raise OptionError(f"{what}one latent is decoded to {kind(x)}, the data are floats (N, *{event})")
