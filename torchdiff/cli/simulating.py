"""Run a forward SDE on data: the noising of digits or of a two-dimensional set, as a picture or as numbers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchdiff.errors import OptionError, shown

if TYPE_CHECKING:
    from torch import Tensor

    from torchdiff.simulation import Paths

FRAMES, PLANES = 9, (0.0, 0.1, 0.3, 1.0)  # times of a strip; of the points of a two-dimensional set, in t_max
FINE = 256  # times of its path plots


def run(args: argparse.Namespace) -> int:
    from torchdiff.registry import SDES
    from torchdiff.storage import reserve

    sde = SDES.get(args.sde)  # refused, if it must be, before torch is loaded
    for t in args.times or ():
        sde.check_time(t)
    out = reserve(args.out, (".png", ".safetensors", ".npz"))
    if out.suffix == ".png":
        from torchdiff import pictures

        pictures.pyplot()

    from torchdiff.simulation import simulate

    x0 = _data(args)
    flat = x0.dim() == 2 and x0.shape[1] == 2
    if out.suffix == ".png" and not flat and not (x0.dim() == 3 or (x0.dim() == 4 and x0.shape[1] in (1, 3))):
        raise OptionError(f"a picture is of images or of points (B, 2), the data are {tuple(x0.shape)}; store numbers")
    spacing = PLANES if flat else [i / (FRAMES - 1) for i in range(FRAMES)]
    times = args.times or [sde.t_max * part for part in spacing]
    shown_times = times
    if out.suffix == ".png" and flat:  # a line needs more times than the frames; one path serves both
        times = sorted({*times, *(times[0] + (times[-1] - times[0]) * i / FINE for i in range(FINE + 1))})
    done = simulate(
        sde,
        x0,
        times,
        seed=args.seed,
        method=args.method,
        steps=args.steps,
        noise=args.noise,
        first_index=args.first_index,
    )
    _store(out, args, done, [times.index(t) for t in shown_times] if flat else [])
    spec = SDES.label(sde)
    if args.json:
        facts = {"sde": spec, "seed": done.seed, "first_index": done.first_index, "times": shown_times}
        more = {"shape": list(x0.shape), "noise_version": done.noise_version, "file": str(out)}
        print(json.dumps({**facts, **more}, indent=1))
    else:
        print(f"{x0.shape[0]} paths of {spec} from {tuple(x0.shape[1:])}, t = {times[0]:g} to {times[-1]:g}")
        print(f"seed {done.seed}, first index {done.first_index} -> {out}")
    return 0


def _data(args: argparse.Namespace) -> Tensor:
    """The states at the first time: digits of the shipped network, points of a set, or the tensor x of a file."""
    import torch

    from torchdiff.zoo import planar

    seed, first = 0, args.first_index
    if args.data in planar.SETS:
        return planar.points(args.data, args.count or 1500, seed, first)
    if args.data == "digits":
        from torchdiff.sampling import sample
        from torchdiff.wrapping import wrap
        from torchdiff.zoo import digits

        count = args.count or 1
        label = (torch.arange(first, first + count) + 3) % 10
        # seed 1: its first digits are clear ones
        return sample(
            wrap(digits.unet(), "v"), "vp", "dpmpp_2m", calls=20, shape=(count, 1, 28, 28), seed=1, first_index=first,
            cond={"label": label},
        ).x  # fmt: skip
    if not args.data.endswith(".safetensors"):
        known = ", ".join(["digits", *planar.SETS])
        raise OptionError(f"--data is {known}, or a .safetensors file with a tensor x; got {shown(args.data)}")
    return _file(args.data, args.count)


def _file(path: str, count: int | None) -> Tensor:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            if "x" not in file.keys():  # noqa: SIM118  # it is no mapping
                raise OptionError(f"{shown(path)} has no tensor x, but {', '.join(file.keys()) or 'none'}")
            x = file.get_tensor("x")
    except (OSError, SafetensorError) as error:
        raise OptionError(f"--data {shown(path)} cannot be read: {error}") from error
    return x if count is None else x[:count]


def _store(out: Path, args: argparse.Namespace, done: Paths, frames: list[int]) -> None:
    from torchdiff import formats, pictures, storage

    name = args.sde.partition(":")[0].upper()
    if out.suffix == ".png":
        draw = (lambda file: pictures.planes(file, [(name, done)], frames)) if frames else None
        storage.write(out, draw or (lambda file: pictures.strip(file, [(name, done)])))
        return
    tensors = {"x": done.x} | {f"state_{i}": block for i, block in enumerate(done.state) if i > 0}
    facts: dict[str, Any] = {"sde": args.sde, "seed": done.seed, "first_index": done.first_index, "data": args.data}
    facts |= {"times": " ".join(map(repr, done.times)), "noise_version": done.noise_version}
    form = formats.write_safetensors if out.suffix == ".safetensors" else formats.write_npz
    storage.write(out, lambda file: form(file, tensors, {name: str(value) for name, value in facts.items()}))
