"""What a network is asked: calls, rows and seconds, counted around the network itself and not by who calls it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch

from torchdiff.denoiser import Denoiser


class Meter:
    """Counts of all networks that it is `around`, since the last `reset`.

    calls: of a network; rows: samples in them, so that guidance's doubled batch is two a sample; seconds: inside it and
    its decoder, by perf_counter, an accelerator waited for on both sides. tick: called after each call.
    """

    def __init__(self, tick: Callable[[], None] = lambda: None) -> None:
        self.tick = tick
        self.reset()

    def reset(self) -> None:
        self.calls, self.rows, self.seconds = 0, 0, 0.0

    def around(self, denoiser: Any) -> Any:
        """The same denoiser, guidance and all, with each network inside it counted."""
        if isinstance(denoiser, Denoiser):
            latent = denoiser.latent
            timed = None if latent is None else replace(latent, decode=Timed(latent.decode, self))
            return replace(denoiser, net=Metered(denoiser.net, self), latent=timed)
        inside = {f.name: getattr(denoiser, f.name) for f in fields(denoiser) if f.init}
        return replace(
            denoiser, **{name: self.around(value) for name, value in inside.items() if hasattr(value, "cores")}
        )


class Timed:
    """A function of a tensor whose seconds a meter counts."""

    def __init__(self, net: Any, meter: Meter) -> None:
        self.net, self.meter = net, meter

    def __call__(self, x: Any, *rest: Any, **cond: Any) -> Any:
        wait = waiting(x)
        wait()
        began = time.perf_counter()
        try:
            return self.net(x, *rest, **cond)
        finally:
            wait()
            self.meter.seconds += time.perf_counter() - began


class Metered(Timed):
    """A network that tells a meter of each call. It has the parameters of its network, and nothing else of it."""

    def __call__(self, x: Any, *rest: Any, **cond: Any) -> Any:
        try:
            return super().__call__(x, *rest, **cond)
        finally:
            self.meter.calls += 1
            self.meter.rows += int(x.shape[0])
            self.meter.tick()

    def parameters(self) -> Iterator[Any]:
        return iter(self.net.parameters() if hasattr(self.net, "parameters") else ())


def waiting(x: Any) -> Callable[[], None]:
    """A function that returns when the device of x has done what it was asked for; at once on a CPU."""
    if x.device.type == "cpu":
        return lambda: None
    return lambda: torch.accelerator.synchronize(x.device)


@contextmanager
def alone() -> Iterator[None]:
    """Inside, torch works on one thread.

    Judging is many small sums: two threads on busy cores made it ten times slower. And the order of a sum is then the
    same on every machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
