"""The progress bar: one tick a network call, and nothing on the screen unless it is asked for."""

from __future__ import annotations

import pytest
import torch

import torchdiff
from torchdiff import progress


class Meter:
    """What the bar uses of tqdm, written down in order."""

    def __init__(self, **options) -> None:
        self.options = options
        self.events: list[str] = []

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *error) -> None:
        self.events.append("closed")

    def update(self, count: int = 1) -> None:
        self.events += ["tick"] * count


@pytest.fixture
def meters(monkeypatch) -> list[Meter]:
    """The bars that runs open from here on."""
    opened: list[Meter] = []

    def open_one(**options) -> Meter:
        opened.append(Meter(**options))
        return opened[-1]

    monkeypatch.setattr(progress, "tqdm", open_one)
    return opened


def run(solver: str, net=torch.zeros_like, **options):
    return torchdiff.sample(
        lambda x, t: net(x), "vp", solver, steps=3, shape=(2, 2), prediction="eps", seed=0, **options
    )


# three steps and the final interval: one call each, two a step, and a corrector that calls within every interval
@pytest.mark.parametrize(("solver", "calls"), [("ddim", 4), ("heun", 7), ("predictor_corrector", 8)])
@pytest.mark.parametrize("name", ["faces, 8 a batch", True])
def test_bar_ticks_once_after_each_network_call(meters, solver, calls, name):
    """The bar counts plan.calls network calls, ticks after each, is named as asked and closes after the last."""

    def net(x):
        meters[0].events.append("call")
        return torch.zeros_like(x)

    out = run(solver, net, progress=name)
    (meter,) = meters
    assert meter.events == ["call", "tick"] * calls + ["closed"]
    assert meter.options["total"] == out.plan.calls == calls
    assert meter.options["desc"] == (name if isinstance(name, str) else None)


def test_bar_closes_when_the_network_fails(meters):
    """An error in a network call leaves no bar open behind it."""
    with pytest.raises(ZeroDivisionError):
        run("ddim", lambda x: 1 // 0, progress=True)
    assert [meter.events for meter in meters] == [["closed"]]


@pytest.mark.parametrize("off", [{}, {"progress": False}, {"progress": ""}])
def test_no_bar_unless_asked(capfd, meters, off):
    """Without progress, or with progress=False, no bar is opened and a run writes nothing."""
    run("ddpm", **off)
    assert meters == []
    assert capfd.readouterr() == ("", "")


def test_bar_is_written_to_stderr(capsys):
    """The real bar shows its name and the count on stderr, and keeps stdout for the caller's own output."""
    run("ddim", progress="night run")
    out, err = capsys.readouterr()
    assert out == ""
    assert "night run" in err
    assert "/4 " in err
