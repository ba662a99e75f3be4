"""Models of diffusers in one line: our DDIM on a scheduler's grid is the scheduler's own loop."""

import functools

import diffusers
import pytest
import torch

import torchdiff
from torchdiff import wrap
from torchdiff.errors import OptionError
from torchdiff.interop import diffusers as bridge
from torchdiff.noise import normal


@functools.cache
def unet(dtype=torch.float64):
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(
        sample_size=8, in_channels=2, out_channels=2, block_out_channels=(8,), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    return model.eval().requires_grad_(False).to(dtype)


@functools.cache
def dit(out=None):
    torch.manual_seed(0)
    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=2, out_channels=out, num_layers=1, sample_size=4,
        patch_size=2, norm_num_groups=1, num_embeds_ada_norm=5,
    )  # fmt: skip
    return model.eval().requires_grad_(False).double()


def start(side):
    return normal((2, 2, side, side), seed=3, dtype=torch.float64)


def their_loop(model, scheduler, x, **cond):
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t.expand(len(x)), **cond).sample, t, x).prev_sample
    return x


def exact(scheduler):
    """Its table of alpha-bar anew in float64, from its config and not from ours."""
    c = scheduler.config
    if c.beta_schedule == "scaled_linear":
        betas = torch.linspace(c.beta_start**0.5, c.beta_end**0.5, c.num_train_timesteps, dtype=torch.float64) ** 2
    else:
        betas = torch.linspace(c.beta_start, c.beta_end, c.num_train_timesteps, dtype=torch.float64)
    scheduler.alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
    scheduler.final_alpha_cumprod = (
        torch.ones((), dtype=torch.float64) if c.set_alpha_to_one else scheduler.alphas_cumprod[0]
    )


CONFIGS = [
    {"prediction_type": "epsilon"},
    {"prediction_type": "v_prediction", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"prediction_type": "sample", "timestep_spacing": "trailing"},
    {"prediction_type": "epsilon", "set_alpha_to_one": False},
    {"prediction_type": "epsilon", "set_alpha_to_one": False, "steps_offset": 1},
    {"prediction_type": "epsilon", "num_train_timesteps": 500},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_ddim_is_the_schedulers_loop(config):
    """To 1e-5 with its float32 table, to 1e-13 with that table in float64."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False, **config)
    scheduler.set_timesteps(10)
    net, process = bridge.wrap(unet(), scheduler)
    options = dict(times=bridge.times(scheduler), x=start(8), final="t_min")
    ours = torchdiff.sample(net, process, "ddim", **options).x
    size = ours.abs().max()
    assert (their_loop(unet(), scheduler, start(8)) - ours).abs().max() <= 1e-5 * size
    exact(scheduler)
    # the rounding of ten steps, eps divided by sqrt(abar) = 0.006 in the first; measured 5e-15
    assert (their_loop(unet(), scheduler, start(8)) - ours).abs().max() <= 1e-13 * size


@pytest.mark.parametrize(
    "config",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"trained_betas": [0.001 * (i + 1) for i in range(50)], "num_train_timesteps": 50},
    ],
    ids=str,
)
def test_other_tables_are_read(config):
    """The cosine table, zero terminal SNR and betas of one's own, against the scheduler's own float32 table."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction", **config)
    scheduler.set_timesteps(10)
    options = dict(times=bridge.times(scheduler), x=start(8), final="t_min")
    ours = torchdiff.sample(*bridge.wrap(unet(), scheduler), "ddim", **options).x
    # 1e-4: 1 - abar of a float32 cumulative product keeps 4 digits where abar is near 1, as the first entries are
    assert (their_loop(unet(), scheduler, start(8)) - ours).abs().max() <= 1e-4 * ours.abs().max()


def test_transformers_wrap_in_one_line_too():
    """DiT with its class labels as conditions; with twice the channels it tells its variance, in torchdiff.wrap too."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(10)
    exact(scheduler)
    cond = {"class_labels": torch.tensor([1, 3])}
    options = dict(times=bridge.times(scheduler), x=start(4), final="t_min", cond=cond)
    ours = torchdiff.sample(*bridge.wrap(dit(), scheduler), "ddim", **options).x
    assert (their_loop(dit(), scheduler, start(4), **cond) - ours).abs().max() <= 1e-11 * ours.abs().max()
    told, process = bridge.wrap(dit(4), scheduler)
    assert told.calling.variance
    whole = lambda x, t, **c: dit(4)(x, t, **c).sample[:, :2]  # noqa: E731
    mean = torchdiff.sample(wrap(whole, "eps", time=process.index), process, "ddim", **options).x
    assert torch.equal(torchdiff.sample(told, process, "ddim", **options).x, mean)
    by_hand = wrap(dit(4), "eps", time="index", variance=True)
    learned = [
        torchdiff.sample(net, process, "ddpm:variance=learned_range", seed=1, **options).x for net in (told, by_hand)
    ]
    assert torch.equal(*learned)


def test_learned_range_is_that_of_the_ddpm_scheduler():
    """The standard deviation of one step is the one that DDPMScheduler takes from the same channels."""
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range", clip_sample=False)
    process, x = bridge.wrap(unet(), scheduler)[1], start(4)
    said = torch.tanh(x)
    for index in (999, 500, 7):
        level = process.level(process.time(index))
        nxt = process.level(process.time(index - 1))
        net = wrap(lambda x, t: torch.cat([torch.zeros_like(x), said], 1), "eps", time=process.index, variance=True)
        options = dict(times=[level.t, nxt.t], final="t_min", x=x)
        drawn, mean = (
            torchdiff.sample(net, process, solver, seed=1, **options).x
            for solver in ("ddpm:variance=learned_range", "ddpm:variance=fixed_small")
        )
        small = float(scheduler._get_variance(index, variance_type="fixed_small")) ** 0.5
        theirs = torch.exp(0.5 * scheduler._get_variance(index, predicted_variance=said, variance_type="learned_range"))
        z = normal(x.shape, seed=1, dtype=torch.float64)
        ratio = (drawn - mean) / z + small  # the mean is that of both
        assert (ratio / theirs - 1.0).abs().max() <= 1e-4  # their variances are float32 differences


def test_flow_schedulers_and_half_models():
    """FlowMatch: v = eps - x0 at 1000 sigma, Euler in sigma is their loop; a bfloat16 model is asked in bfloat16."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(8)
    net, process = bridge.wrap(unet(), scheduler)
    ours = torchdiff.sample(net, process, "ddim", times=bridge.times(scheduler), x=start(8), final="t_min").x
    theirs = their_loop(lambda x, t: unet()(x.double(), t), scheduler, start(8))
    assert (theirs - ours).abs().max() <= 1e-5 * ours.abs().max()  # their state and sigmas are float32
    half, _ = bridge.wrap(unet(torch.bfloat16), scheduler)
    assert half.calling.dtype == torch.bfloat16
    assert torchdiff.sample(half, "flow", "ddim", steps=2, shape=(1, 2, 8, 8), seed=0).x.dtype == torch.float32


def test_autoencoders_are_latents():
    """Decoded samples are vae.decode(z / scaling), encoding takes the mean times scaling."""
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=2, scaling_factor=0.2)
    vae = vae.eval().requires_grad_(False)
    scheduler = diffusers.DDIMScheduler()
    net, process = bridge.wrap(unet(torch.float32), scheduler, latent=bridge.latent(vae, batch=1))
    out = torchdiff.sample(net, process, "ddim", steps=3, shape=(2, 2, 8, 8), seed=0)
    wanted = torch.cat([vae.decode(z / 0.2).sample for z in out.state[0].split(1)])
    assert torch.equal(out.x, wanted)
    latents = net.latent.encoded(out.x)
    mean = torch.cat([vae.encode(x).latent_dist.mean for x in out.x.split(1)])
    assert torch.equal(latents, mean * 0.2)


def test_what_is_no_scheduler_is_named():
    """No config, a process that is neither a table nor a straight path, a prediction that is none of ours."""
    with pytest.raises(OptionError, match="got str"):
        bridge.wrap(unet(), "ddim")
    with pytest.raises(OptionError, match="EDMEulerScheduler has no table of betas"):
        bridge.wrap(unet(), diffusers.EDMEulerScheduler())
    with pytest.raises(OptionError, match="EDMEulerScheduler has no table of betas"):
        bridge.times(diffusers.EDMEulerScheduler())
    scheduler = diffusers.DDIMScheduler(prediction_type="epsilon")
    scheduler.register_to_config(prediction_type="noise")
    with pytest.raises(OptionError, match="epsilon, .*, got 'noise'"):
        bridge.wrap(unet(), scheduler)
