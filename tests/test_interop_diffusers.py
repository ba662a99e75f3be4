"""Networks of diffusers, wrapped in one line, sample as their own loop does."""

from __future__ import annotations

import pytest
import torch

import torchdiff
from torchdiff.errors import OptionError
from torchdiff.interop import diffusers as bridge

diffusers = pytest.importorskip("diffusers")

SHAPE = (2, 3, 8, 8)


def unet():
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    ).double().eval()  # fmt: skip


def dit():
    torch.manual_seed(0)
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=3, out_channels=6, num_layers=1, sample_size=8,
        norm_num_groups=1, num_embeds_ada_norm=1000,
    ).double().eval()  # fmt: skip


def theirs(model, scheduler, x, **cond):
    """diffusers' own loop."""
    with torch.no_grad():
        for t in scheduler.timesteps:
            out = model(x, t.expand(len(x)) if cond else t, **cond).sample[:, :3]
            x = scheduler.step(out, t, x).prev_sample
    return x


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_ddim_is_their_loop(schedule, prediction):
    """The wrap and its SDE on the scheduler's own times give diffusers' DDIM, its table made anew in float64.

    1e-11: measured 2e-13; with its float32 table the two differ by 2e-5.
    """
    scheduler = diffusers.DDIMScheduler(beta_schedule=schedule, prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(10)
    model, x = unet(), torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net, sde = bridge.wrap(model, scheduler)
    scheduler.alphas_cumprod = torch.tensor([sde.alpha(sde.time(i)) ** 2 for i in range(1000)], dtype=torch.float64)
    times = [sde.time(int(t)) for t in scheduler.timesteps]
    ours = torchdiff.sample(net, sde, "ddim", times=times, x=x, seed=0).x
    wanted = theirs(model, scheduler, x)
    assert float((ours - wanted).abs().max()) <= 1e-11 * max(1.0, float(wanted.abs().max()))


def test_a_transformer_with_variance_and_labels():
    """DiT's second half of channels is taken for its variance, its labels go through cond."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(5)
    model, x = dit(), torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    label = torch.tensor([1, 3])
    net, sde = bridge.wrap(model, scheduler)
    assert net.calling.variance
    times = [sde.time(int(t)) for t in scheduler.timesteps]
    ours = torchdiff.sample(net, sde, "ddim", times=times, x=x, seed=0, cond={"class_labels": label}).x
    wanted = theirs(model, scheduler, x, class_labels=label)
    assert float((ours - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))
    learned = torchdiff.sample(
        net, sde, "ddpm:variance=learned_range", steps=3, x=x, seed=0, cond={"class_labels": label}
    )
    assert learned.finite.all()


def test_flow_matching_is_their_loop():
    """FlowMatchEulerDiscreteScheduler's Euler is ours on its sigmas; the network gets 1000 t."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(6)
    model, x = unet(), torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net, sde = bridge.wrap(model, scheduler)
    ours = torchdiff.sample(net, sde, "ode:method=euler", times=scheduler.sigmas.double().tolist(), x=x, seed=0).x
    wanted = theirs(model, scheduler, x.float().double())
    # its step rounds the state to float32
    assert float((ours - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))


def test_zero_terminal_snr_and_own_tables_are_read():
    """rescale_betas_zero_snr makes alpha = 0 at t = 1; trained betas become the table."""
    zero = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert bridge.wrap(unet(), zero)[1].level(1.0).alpha == 0.0
    betas = [0.01, 0.02, 0.03, 0.05, 0.08]
    own = diffusers.DDIMScheduler(num_train_timesteps=5, trained_betas=betas)
    assert bridge.wrap(unet(), own)[1].alpha(0.2) ** 2 == pytest.approx(0.99, rel=1e-7)  # betas of float32


def test_what_is_no_scheduler_is_named():
    """An object without a config is one error."""
    with pytest.raises(OptionError, match="with a config"):
        bridge.wrap(unet(), 3)
