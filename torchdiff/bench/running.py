"""The run of a bench: cell after cell, each finished one kept, then the comparisons between them."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from torchdiff.bench import machine
from torchdiff.bench.cells import FORMAT, Cells, Record
from torchdiff.bench.conditions import placed, taken
from torchdiff.bench.contenders import Scene
from torchdiff.bench.latents import fits
from torchdiff.bench.meter import Meter, alone
from torchdiff.bench.question import Question, jobs, question
from torchdiff.bench.store import NAME, Store, picked, read
from torchdiff.bench.subject import PRESETS, Subject, of_network, of_target
from torchdiff.bench.versus import compare
from torchdiff.bench.work import Work
from torchdiff.errors import (
    OptionError,
    StorageError,
    shown,
)
from torchdiff.progress import bar
from torchdiff.registry import SDES
from torchdiff.sde.base import LinearSDE

SOLVERS = ("auto", "ddim", "ddpm", "dpmpp_2m", "heun", "unipc")
FULL = {"calls": (5, 8, 10, 20, 50), "seeds": (0, 1, 2), "count": 1000}
QUICK = {"calls": (5, 10, 20), "seeds": (0,), "count": 300}


def run(
    preset: str | None = None,
    *,
    net: Any = None,
    target: Any = None,
    data: Any = None,
    cond: Any = None,
    shape: Any = None,
    sde: LinearSDE | str | None = None,
    solvers: str | Iterable[str] = SOLVERS,
    grids: str | Iterable[str] | None = None,
    calls: Any = None,
    steps: Any = None,
    seeds: Any = None,
    count: int | None = None,
    batch: int = 500,
    metrics: str | Iterable[str] | None = None,
    budget: float | None = None,
    out: str | Path | None = None,
    prediction: str | None = None,
    name: str = "network",
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    quick: bool = False,
    force: bool = False,
    progress: bool = False,
) -> Cells:
    """Steps against quality: every solver on every grid at every budget, with the same noise, judged by every metric.

        cells = torchdiff.bench.run(target="gmm2d", solvers="ddim,dpmpp_*,unipc", calls=(5, 10, 20))
        print(torchdiff.bench.table(cells))

    One of:
      preset:  "digits", the shipped network.
      target:  a data law with its exact network, by name or as an object: what is left is the solvers' own error.
      net:     called net(x, t), or a `wrap`; with data: (N, *shape) real samples or the name of a file with them, and
               `prediction` unless it is wrapped. name: what it is called in tables.
    cond:      of a net: a mapping of names to tensors (N, ...), or the name of a file with them; sample i of each set
               gets row i modulo N as keyword arguments. Without it, arrays beside x in the file of data are the
               conditions of their samples, and are given in an order that is mixed once; "none": no conditions. The
               metrics see x alone: let the conditions have the shares that they have in the data.
    shape:     of one latent, for a `wrap` with latent=: it samples latents, and is judged by what they are decoded to.
    sde:       the process that the network was trained on; "vp" by default.
    solvers, grids: lists of names with options, or text "ddim:eta=0.5,dpmpp_*" with patterns; `diffusers:NAME` and
               `azula:NAME` are samplers of those libraries, which have grids of their own. What cannot run is left out,
               with the reason in the header. On grid "optimal:spectrum=data" the times are computed for these data.
    calls or steps: network calls to spend, or steps. seeds, count: sets of so many samples. batch: of a call.
    metrics:   names; the target's or the preset's own by default.
    budget:    seconds: no cell is begun that would end later. Comparisons between finished cells come on top.
    out:       a folder that keeps each finished cell; the same call goes on there. None: nothing is kept.
    dtype:     of the state and of what the network gets: "float32" (default), float64, float16 or bfloat16; metrics
               stay float64. A network of another dtype is wrapped with dtype=; that of a preset is converted.
    quick:     fewer calls, seeds and samples where they are not given. force: see --force.
    Returns Cells. Raises errors of the ValueError family; finished cells are kept in `out`.
    """
    began = time.perf_counter()
    subject = _subject(preset, net, target, data, cond, shape, prediction, name)
    if subject.spectrum is not None:
        subject = replace(subject, spectrum=functools.cache(subject.spectrum))  # seconds for wide data, once
    small = QUICK if quick else FULL
    if calls is None and steps is None:
        calls = small["calls"]
    place = _device(device, net)
    asked = question(
        subject,
        "vp" if sde is None else sde,
        solvers,
        grids,
        calls,
        steps,
        small["seeds"] if seeds is None else seeds,
        small["count"] if count is None else count,
        batch,
        metrics,
        prediction,
        place,
        dtype,
    )  # fmt: skip
    if budget is not None and not (isinstance(budget, int | float) and 0.0 < budget < float("inf")):
        raise OptionError(f"budget is a number of seconds above 0, got {shown(budget)}")
    meter = Meter()
    process = SDES.get(asked.sde)
    inside, kind = subject.denoiser(process), getattr(torch, asked.dtype)
    if preset is not None:
        for core in inside.cores:  # ours, so nobody else's is touched
            core.net.to(place, kind)
    taken(inside.bind(subject.cond(0, 1)), process.blocks)
    rows = placed(subject.cond, place, inside.cores[0].calling.dtype or kind)
    scene = Scene(process, meter.around(inside), subject.shape, rows, kind, place, subject.spectrum)
    fits(scene, subject.event)
    todo, left = jobs(asked, scene)
    gauges = {name: subject.gauge(name, asked.count) for name in asked.metrics}
    store = Store(None if out is None else Path(out))
    work = Work(asked, subject, scene, gauges, meter, store)
    with store.opened(_header(asked, left, place, subject.picked, len(todo)), [job.key for job in todo], force):
        waits = [job for job in todo if job.key not in store.records]
        total = None if any(job.ready.calls is None for job in waits) else sum(work.calls(job) for job in waits)
        with bar(total, "bench" if progress and waits else False) as meter.tick:
            done = work.cells(waits, None if budget is None else began + budget)
        if not done and waits:
            raise OptionError(
                f"a budget of {budget:g} s is too small for one cell: {waits[0].key!r} takes about "
                f"{work.foreseen(waits[0]):.2g} s and getting ready took {work.ready_after - began:.2g} s; "
                f"finished cells ({len(todo) - len(waits)} of {len(todo)}) are kept"
            )
        meter.tick = lambda: None
        finished = [job for job in todo if job.key in store.records]
        with alone():
            pairs = compare(finished, asked, gauges, store, progress)
        store.write([*(job.key for job in todo), *pairs])
        return _cells(store)


def load(out: str | Path) -> Cells:
    """The cells in a folder that `run` wrote, finished or not, with the samples that are shown.

    Raises StorageError or OptionError for a folder that is none.
    """
    folder = Path(out)
    records = read(folder / NAME)
    if not records:
        raise OptionError(f"{shown(str(folder / NAME))} is empty")
    store = Store(folder)
    store.header, store.records = records[0], {r["key"]: r for r in records[1:]}
    return _cells(store)


def _subject(
    preset: str | None, net: Any, target: Any, data: Any, cond: Any, shape: Any, prediction: str | None, name: str
) -> Subject:
    given = [n for n, v in {"a preset": preset, "net": net, "target": target}.items() if v is not None]
    if len(given) != 1:
        raise OptionError(
            f"say what to sample: a preset ({', '.join(PRESETS)}), target or net; got {' and '.join(given) or 'none'}"
        )
    if net is not None:
        return of_network(net, name, data, prediction, cond, shape)
    for word, value in {"data": data, "cond": cond, "shape": shape, "prediction": prediction}.items():
        if value is not None:
            raise OptionError(f"{word} belongs to a net; {given[0]} brings its own")
    if target is not None:
        return of_target(target)
    if preset not in PRESETS:
        raise OptionError(f"unknown preset {shown(preset)}; known: {', '.join(PRESETS)}")
    return PRESETS[preset]()


def _device(device: Any, net: Any) -> torch.device:
    if device is not None:
        return torch.device(device)
    core = net.net if hasattr(net, "meaning") else net
    first = next(core.parameters(), None) if isinstance(core, torch.nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def _header(
    asked: Question, left: list[dict[str, str]], place: torch.device, picks: tuple[int, ...], planned: int
) -> Record:
    libraries = {spec.partition(":")[0] for spec in asked.solvers} & {"diffusers", "azula"}
    return {
        "kind": "header",
        "format": FORMAT,
        "config": asked.config(),
        "versions": machine.versions(tuple(sorted(libraries))),
        "machine": machine.machine(place),
        "left_out": left,
        "command": asked.command(),
        "picked": list(picks),
        "planned": planned,
        "timing": {"began": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())},
    }


def _cells(store: Store) -> Cells:
    assert store.header is not None
    cells = [r for r in store.records.values() if r["kind"] == "cell"]
    first = store.header["config"]["seeds"][0]
    samples = {}
    for cell in cells:
        if cell["seed"] == first and cell["problem"] is None:
            try:
                samples[cell["key"]] = picked(store.samples(cell["key"]), tuple(store.header["picked"]))
            except StorageError:  # pictures can be missed where numbers are wanted: the folder was copied without them
                continue
    versus, across = (tuple(r for r in store.records.values() if r["kind"] == kind) for kind in ("versus", "across"))
    return Cells(store.header, tuple(cells), versus, samples, across)
