"""Sample a network into a file. Sample i is a function of the seed and its number, whatever the batch around it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchdiff.cli import guiding
from torchdiff.cli.planning import wish
from torchdiff.errors import NetworkError, OptionError, shown

if TYPE_CHECKING:
    from torchdiff.sampling import Samples

DTYPES = ("float32", "float64", "float16", "bfloat16")
SIZES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}


def run(args: argparse.Namespace) -> int:
    from torchdiff.planner import plan
    from torchdiff.storage import reserve

    # what can be refused is refused before torch is loaded, the user's code is run and any network is called
    guiding.check(args)
    planned = plan(args.sde, args.solver, prediction=args.prediction, **wish(args))
    check_memory(args.shape, args.dtype, planned.blocks)
    out = reserve(args.out, (".safetensors", ".npz"))
    png = reserve(args.png, (".png",)) if args.png else None
    if args.dtype == "bfloat16" and out.suffix == ".npz":
        raise OptionError("npz has no bfloat16; write .safetensors, or sample in another dtype")

    import torch

    from torchdiff import formats
    from torchdiff.sampling import sample

    if png is not None:
        formats.image_shape(args.shape)
    device = usable(args.device)
    cond = _conditions("cond", args.cond, args.shape[0], device)
    sides = {
        name: _conditions(name, given, args.shape[0], device)
        for name in ("null", "negative")
        if (given := getattr(args, name)) is not None
    }
    with folder_on_path():
        net = network(*args.net)
        move(net, device, getattr(torch, args.dtype))
        net = guiding.guided(net, args, sides)
        began = time.perf_counter()
        done = sample(
            net,
            args.sde,
            args.solver,
            shape=args.shape,
            prediction=args.prediction,
            seed=args.seed,
            first_index=args.first_index,
            cond=cond,
            dtype=getattr(torch, args.dtype),
            device=device,
            progress=not args.no_progress and sys.stderr.isatty(),
            **wish(args),
        )
        x = done.x.cpu()  # waits for the device
        seconds = time.perf_counter() - began
    facts = {**_facts(done), **guiding.facts(args)}
    _store(out, png, x, done, facts)
    files = [str(path) for path in (out, png) if path is not None]
    if args.json:
        more = {"shape": list(x.shape), "dtype": args.dtype, "device": str(done.x.device), "seconds": round(seconds, 3)}
        print(json.dumps({**facts, **more, "files": files}, indent=1))
    else:
        kind = f"{x.shape[0]} samples {tuple(x.shape[1:])} {args.dtype} on {done.x.device}"
        print(f"{kind}: {facts['solver']} on {facts['sde']}, {facts['steps']} steps, {facts['calls']} network calls")
        print(f"seed {facts['seed']}, first index {facts['first_index']}, {seconds:.1f} s -> {', '.join(files)}")
    return 0


def _store(out: Path, png: Path | None, x: Any, done: Samples, facts: dict[str, Any]) -> None:
    from torchdiff import formats, storage

    tensors = {"x": x} | {f"state_{i}": block.cpu() for i, block in enumerate(done.state) if i > 0}
    metadata = {name: str(value) for name, value in facts.items()}
    form = formats.write_safetensors if out.suffix == ".safetensors" else formats.write_npz
    storage.write(out, lambda file: form(file, tensors, metadata))
    if png is not None:
        storage.write(png, lambda file: formats.write_png(file, x))


def _facts(done: Samples) -> dict[str, Any]:
    """What makes these samples again, and who provided the parts; no time, so that equal runs are equal files."""
    from torchdiff import __version__
    from torchdiff.registry import SDES, SOLVERS

    sde, solver = SDES.spec(done.plan.sde), SOLVERS.spec(done.plan.solver)
    return {
        "seed": done.seed,
        "first_index": done.first_index,
        "sde": sde,
        "sde_source": SDES.describe(sde.partition(":")[0]).source,
        "solver": solver,
        "solver_source": SOLVERS.describe(solver.partition(":")[0]).source,
        "prediction": done.plan.prediction,
        "times": " ".join(repr(level.t) for level in done.plan.grid),
        "steps": done.plan.steps,
        "calls": done.calls,
        "noise": done.plan.noise,
        "noise_version": done.noise_version,
        "torchdiff_version": __version__,
    }


def check_memory(shape: tuple[int, ...], dtype: str, blocks: int) -> None:
    """A shape that the machine cannot hold even once is a slip; torch would say so with a long trace, or not at all."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        memory = 2**48
    need = math.prod(shape) * SIZES[dtype] * blocks
    if need > memory:
        raise OptionError(f"shape {shape} takes {need / 2**30:.3g} GiB, this machine has {memory / 2**30:.3g}")


def usable(name: str | None) -> Any:
    """The device, after a number has been there and back, so that what is no device, or not here, is refused."""
    import torch

    if name is None:
        return None
    try:
        torch.zeros(1, device=name).tolist()
        return torch.device(name)
    except Exception as error:  # torch has a different exception for each way a device can be missing
        raise OptionError(f"device {shown(name)} cannot be used: {str(error).splitlines()[0]}") from error


def _conditions(flag: str, given: list[tuple[str, list[float] | None]], batch: int, device: Any) -> dict[str, Any]:
    """{name: tensor (batch,)}: int64 for whole numbers, else float32; a single number is for all samples."""
    import torch

    cond: dict[str, Any] = {}
    for name, values in given:
        if name in cond:
            raise OptionError(f"--{flag} {name} is given twice")
        if values is not None and len(values) not in (1, batch):
            raise OptionError(f"--{flag} {name}: give one number, or {batch} for {batch} samples, got {len(values)}")
        cond[name] = None if values is None else torch.tensor(values, device=device).expand(batch)
    return cond


@contextlib.contextmanager
def folder_on_path() -> Iterator[None]:
    """The current folder is searched first, as `python -m` does, for the network that stands there."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def network(module: str, attribute: str) -> Any:
    """What the factory returns. Its failures are the user's to see: one line that names the factory and the cause."""
    import torch

    name = shown(f"{module}:{attribute}")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        net = found if isinstance(found, torch.nn.Module) or hasattr(found, "meaning") else found()
    except (Exception, SystemExit) as error:
        raise NetworkError(f"--net {name} gives no network: {type(error).__name__}: {error}") from error
    if not callable(net):
        raise NetworkError(f"--net {name} should return a network to be called as net(x, t), got {shown(net)}")
    return net


def move(net: Any, device: Any, dtype: Any) -> None:
    import torch

    for core in net.cores if hasattr(net, "cores") else (None,):
        module = net if core is None else core.net
        own = dtype if core is None or core.calling.dtype is None else core.calling.dtype  # what the state becomes
        if isinstance(module, torch.nn.Module):
            module.to(device=device, dtype=own)
