"""`wrap`: say once what a network predicts and how it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torchdiff.calling import Calling
from torchdiff.conventions import CONVENTIONS, Convention
from torchdiff.denoiser import Denoiser
from torchdiff.errors import OptionError
from torchdiff.latent import Latent
from torchdiff.sde.base import Level, LinearSDE


def wrap(
    net: Callable[..., Any] | None,
    prediction: str | Convention,
    time: str | float | Callable[[Level], float] | None = None,
    input_scale: str | Callable[[Level], float] | None = None,
    copy: bool = False,
    *,
    variance: bool = False,
    joined: bool = False,
    output: int | str | Callable[[Any], Any] | None = None,
    dtype: Any = None,
    time_dtype: Any = None,
    latent: Latent | None = None,
    sde: LinearSDE | str | None = None,
    check: Any = None,
) -> Denoiser:
    """Say once what a network predicts and how it wants its inputs.

        wrap(net, "eps", time="index")    wrap(net, "edm:sigma_data=0.5")    wrap(net, "score_sde")

    net, prediction, time, input_scale, copy: see Denoiser. `torchdiff.list_conventions()` are the words for prediction.
    variance:   True for a network that returns (B, 2C, ...), the prediction and then its variance: every solver uses
                the prediction, "ddpm:variance=learned_range" both.
    joined:     True for a network of an n-block SDE that takes one tensor, the blocks concatenated along dim 1.
    output:     where the output is in what the network returns: an index, a key or attribute, or a function. By default
                the answer itself, its only entry, or its `.sample`.
    dtype:      of the network, where it is not that of the state; x and v are converted to it, and the times to it or
                to float32, whichever is finer. Outputs are converted back.
    time_dtype: of the times, where the network wants yet another: torch.float16, or torch.int64 for a table.
    latent:     a torchdiff.Latent: `sample` then returns decoded samples, and encodes data that it is to encode.
    sde, check: data points (n, *event), some dozens or more, or (points, cond) with the conditions that go with them.
                They are noised by the sde, and the network is asked whether prediction, time and input scale are right.
                Deterministic; some 50 calls of the network. Latent models get data, and encode it.
    Raises OptionError for a word that means nothing, ConventionError where the check finds that another convention
    fits the network, or none of those that it names.
    """
    calling = Calling(joined=joined, output=output, variance=variance, dtype=dtype, time_dtype=time_dtype)
    told = prediction if isinstance(prediction, str) else CONVENTIONS.spec(prediction)
    denoiser = Denoiser(net, told, time, input_scale, copy, calling=calling, latent=latent)
    if sde is not None and check is not None:
        from torchdiff.fitness import check_convention  # not above: it loads torch, which a plan needs not

        points, cond = check if isinstance(check, tuple) else (check, {})
        check_convention(denoiser, sde, points, cond)
    elif sde is not None or check is not None:
        raise OptionError("check needs data and the SDE that noises it: give both check and sde, or neither")
    return denoiser
