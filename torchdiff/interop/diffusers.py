"""Networks and schedulers of diffusers: one line from a model to a wrap and its SDE."""

from __future__ import annotations

from typing import Any

from torchdiff.denoiser import Denoiser
from torchdiff.errors import DependencyError, OptionError
from torchdiff.sde import DiscreteVP, Flow, ScalarSDE
from torchdiff.wrapping import wrap as wrap_network

PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "flow"}
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}


def wrap(model: Any, scheduler: Any, **words: Any) -> tuple[Denoiser, ScalarSDE]:
    """The network of a diffusers pipeline and the process that it was trained on.

        from torchdiff.interop import diffusers as bridge
        net, sde = bridge.wrap(pipe.unet, pipe.scheduler)
        x = torchdiff.sample(net, sde, "dpmpp_2m", calls=20, shape=(4, 3, 64, 64), seed=0).x

    model:     UNet2DModel, DiTTransformer2DModel or another that is called model(x, timestep, **cond) and answers with
               a `.sample`; conditions go into `cond` of `sample`: class_labels, encoder_hidden_states.
    scheduler: of any kind with a table of betas (the process is then `ddpm`, the network gets its index), or of flow
               matching (`flow`, 1000 t). Its prediction_type, betas and zero terminal SNR are read; grid, clipping and
               solver are `sample`'s business.
    words:     more for torchdiff.wrap: copy, dtype, latent, check with sde. A model with twice as many output channels
               as inputs tells its variance too.
    Raises DependencyError without diffusers, OptionError for a scheduler that has neither.
    """
    try:
        import diffusers  # noqa: F401
    except ImportError as error:
        raise DependencyError(f"diffusers is not installed ({error}); pip install diffusers") from error
    config = getattr(scheduler, "config", None)
    if config is None:
        raise OptionError(f"scheduler is one of diffusers', with a config, got {type(scheduler).__name__}")
    if not hasattr(scheduler, "betas"):
        if "FlowMatch" not in type(scheduler).__name__:
            raise OptionError(f"{type(scheduler).__name__} has no table of betas and is not of flow matching")
        words = {"time": float(config.num_train_timesteps), **words}
        return wrap_network(model, "flow", **_variance(model), **words), Flow()
    told = config.get("prediction_type", "epsilon")
    if told not in PREDICTIONS:
        raise OptionError(f"prediction_type is one of {', '.join(PREDICTIONS)}, got {told!r}")
    sde = _table(scheduler, config)
    return wrap_network(model, PREDICTIONS[told], **{"time": sde.index, **_variance(model), **words}), sde


def _table(scheduler: Any, config: Any) -> DiscreteVP:
    """The process by its words where the scheduler was made by words, in float64; else by its table of betas."""
    schedule = SCHEDULES.get(config.get("beta_schedule", ""))
    if config.get("trained_betas") is None and schedule is not None:
        zero, count = bool(config.get("rescale_betas_zero_snr", False)), config.num_train_timesteps
        if schedule == "cosine":
            return DiscreteVP(schedule, count=count, zero_snr=zero)
        return DiscreteVP(schedule, config.beta_start, config.beta_end, count, zero)
    return DiscreteVP(betas=scheduler.betas.double().tolist())


def _variance(model: Any) -> dict[str, bool]:
    config = getattr(model, "config", {})
    inputs, outputs = (config.get(name) for name in ("in_channels", "out_channels"))
    return {"variance": True} if inputs and outputs == 2 * inputs else {}
