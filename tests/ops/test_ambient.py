"""What torch has set around a call changes no bit: autocast, modes, default dtype and device, determinism, threads."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import torchdiff
from torchdiff import noise, ops


@contextlib.contextmanager
def setting(change, value, before):
    change(value)
    try:
        yield
    finally:
        change(before)


class Passing(TorchDispatchMode):
    """A dispatch mode that looks on, as profilers and counters do."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Looking(torch.overrides.TorchFunctionMode):
    """A function mode that looks on."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


AMBIENTS = {
    "autocast bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", torch.float16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "default dtype float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "default dtype float16": lambda: setting(torch.set_default_dtype, torch.float16, torch.float32),
    "default device meta": lambda: torch.device("meta"),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "a dispatch mode": Passing,
    "a function mode": Looking,
    "flush denormals": lambda: setting(torch.set_flush_denormal, True, False),
}


def call_affine():
    g = torch.Generator("cpu").manual_seed(1)
    x, y = (torch.randn(3, 5, generator=g, dtype=torch.float32, device="cpu") for _ in range(2))
    weights = torch.randn(2, 3, generator=g, dtype=torch.float64, device="cpu")
    numbers = [torch.tensor([n], dtype=torch.int64, device="cpu") for n in (7, 9)]
    return ops.affine([x, y.half()], weights, numbers[0], 2, numbers[1])


def call_affine_out():
    out = [torch.empty(3, 5, dtype=torch.bfloat16, device="cpu"), torch.empty(3, 5, dtype=torch.float64, device="cpu")]
    g = torch.Generator("cpu").manual_seed(1)
    x = torch.randn(3, 5, generator=g, dtype=torch.float32, device="cpu")
    weights = torch.randn(2, 2, generator=g, dtype=torch.float64, device="cpu")
    numbers = [torch.tensor([n], dtype=torch.int64, device="cpu") for n in (7, 9)]
    return ops.affine([x], weights, numbers[0], 2, numbers[1], out=out)


def net(x, t):
    """Elementwise products and sums, which no autocast touches."""
    return 0.5 * x - 0.1 * x * t.reshape(-1, 1)


def call_sample(solver):
    def run():
        out = torchdiff.sample(
            net, "vp", solver, steps=4, shape=(3, 5), prediction="eps", seed=3, device="cpu", trajectory=True
        )
        return [out.x, out.trajectory, out.finite]

    return run


CALLS = {
    "affine": call_affine,
    "affine out": call_affine_out,
    "normal": lambda: [noise.normal((3, 5), seed=2, draw=4, dtype=torch.float32, device="cpu")],
    **{f"sample {solver}": call_sample(solver) for solver in ("ddim", "ddpm", "dpmpp_2m", "predictor_corrector")},
}


@pytest.mark.parametrize("ambient", AMBIENTS)
@pytest.mark.parametrize("name", CALLS)
def test_surroundings_change_nothing(name, ambient):
    """Every op and every kind of sampler gives the bits, dtypes and devices that it gives with nothing set."""
    plain = CALLS[name]()
    with AMBIENTS[ambient]():
        changed = CALLS[name]()
    for a, b in zip(plain, changed, strict=True):
        assert (a.dtype, a.device) == (b.dtype, b.device)
        assert torch.equal(a, b)


def test_seeds_and_draws_do_not_follow_the_default_device():
    """noise.as_seeds makes its tensors on the CPU whatever the default device; a seed drawn there is a number."""
    with torch.device("meta"):
        assert noise.as_seeds([1, 2], 2).tolist() == [1, 2]
        assert isinstance(noise.fresh_seed(), int)
