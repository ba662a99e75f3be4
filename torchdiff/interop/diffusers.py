"""Networks, schedulers and autoencoders of diffusers: one line from a model to a wrap and its SDE."""

from __future__ import annotations

from typing import Any

from torchdiff.denoiser import Denoiser
from torchdiff.errors import DependencyError, OptionError
from torchdiff.latent import Latent
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
    words:     more for torchdiff.wrap: copy, latent, check with sde. A model with twice as many output channels as
               inputs tells its variance too; the state is converted to the dtype that the model has at this call.
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
        _check_flow(scheduler)
        found = {"time": float(config.num_train_timesteps), **_found(model), **words}
        return wrap_network(model, "flow", **found), Flow()
    told = config.get("prediction_type", "epsilon")
    if told not in PREDICTIONS:
        raise OptionError(f"prediction_type is one of {', '.join(PREDICTIONS)}, got {told!r}")
    sde = _table(scheduler, config)
    return wrap_network(model, PREDICTIONS[told], **{"time": sde.index, **_found(model), **words}), sde


def times(scheduler: Any) -> list[float]:
    """The grid of a scheduler after its set_timesteps, the end of its last step included: the `times` of `sample`.

    The end is the data, or the first entry of the table where set_alpha_to_one is False.
    Raises OptionError for a scheduler that `wrap` refuses.
    """
    if not hasattr(scheduler, "betas"):
        _check_flow(scheduler)
        return [float(sigma) for sigma in scheduler.sigmas]
    sde = _table(scheduler, scheduler.config)
    grid = [sde.time(float(step)) for step in scheduler.timesteps]
    end = 0.0 if scheduler.config.get("set_alpha_to_one", True) else sde.time(0.0)
    return grid if grid[-1] == end else [*grid, end]


def latent(vae: Any, batch: int | None = None) -> Latent:
    """Encoder and decoder of an AutoencoderKL, with the scale and shift between it and the network, for torchdiff.wrap.

    The mean of its posterior is what is encoded. batch: at most so many samples a call.
    """
    scale, shift = float(vae.config["scaling_factor"]), float(vae.config.get("shift_factor") or 0.0)

    def decode(z: Any) -> Any:
        return vae.decode((z / scale + shift).to(vae.dtype)).sample.to(z.dtype)

    def encode(x: Any) -> Any:
        return ((vae.encode(x.to(vae.dtype)).latent_dist.mode() - shift) * scale).to(x.dtype)

    return Latent(decode, encode, batch)


def _table(scheduler: Any, config: Any) -> DiscreteVP:
    """The process by its words where the scheduler was made by words, in float64; else by its table of betas."""
    schedule = SCHEDULES.get(config.get("beta_schedule", ""))
    if config.get("trained_betas") is None and schedule is not None:
        zero, count = bool(config.get("rescale_betas_zero_snr", False)), config.num_train_timesteps
        if schedule == "cosine":
            return DiscreteVP(schedule, count=count, zero_snr=zero)
        return DiscreteVP(schedule, config.beta_start, config.beta_end, count, zero)
    return DiscreteVP(betas=scheduler.betas.double().tolist())


def _check_flow(scheduler: Any) -> None:
    if "FlowMatch" not in type(scheduler).__name__:
        raise OptionError(f"{type(scheduler).__name__} has no table of betas and is not of flow matching")


def _found(model: Any) -> dict[str, Any]:
    config = getattr(model, "config", {})
    inputs, outputs = (config.get(name) for name in ("in_channels", "out_channels"))
    return {"variance": bool(inputs) and outputs == 2 * inputs, "dtype": getattr(model, "dtype", None)}
