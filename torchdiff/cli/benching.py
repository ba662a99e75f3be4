"""Steps against quality: which solver, which grid, how many network calls, for your network or a known law of data.

Every contender starts from the same noise; network calls are counted around the network; every number stands beside
what perfect samples score, and nothing is called better that the paired comparison cannot tell apart. Finished cells
are kept in --out, one a line: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from torchdiff import storage
from torchdiff.cli import arguments, stopping
from torchdiff.cli.sampling import DTYPES
from torchdiff.errors import OptionError, shown
from torchdiff.registry import SDES, TARGETS

LONGEST = 500  # characters of a failure


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    counts = arguments.wholes(1, arguments.MOST_STEPS)
    parser.add_argument("preset", nargs="?", help="digits: the shipped network and its judge")
    parser.add_argument(
        "--net", type=arguments.factory, metavar="MODULE:FACTORY",
        help="called without arguments, returns the network, or a torchdiff.wrap of it; its code is run",
    )  # fmt: skip
    parser.add_argument("--data", help="with --net: real samples, .safetensors or .npz with x (N,...), or .npy")
    parser.add_argument(
        "--cond", metavar="FILE",
        help="with --net: its keyword arguments, a row a sample, .safetensors or .npz; by default what stands beside x "
        "in --data, none: none",
    )  # fmt: skip
    parser.add_argument("--shape", type=arguments.shape, metavar="N,...", help="of one latent, for a wrap with latent=")
    parser.add_argument("--prediction", help="with --net, unless it is wrapped: eps, x0, v, score, flow, ...")
    parser.add_argument("--target", help="a law of data with its exact network: `torchdiff list targets`")
    parser.add_argument("--sde", help="the process of the network, default vp")
    parser.add_argument(
        "--solvers", metavar="NAME,...",
        help="names, options, patterns: ddim:eta=0.5,dpmpp_*; diffusers:DPMSolverMultistepScheduler, azula:DDIMSampler",
    )  # fmt: skip
    parser.add_argument("--grids", metavar="NAME,...", help="default, karras:rho=7, trailing, ...")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--calls", type=counts, metavar="N,...", help="network calls to spend, default 5,8,10,20,50")
    length.add_argument("--steps", type=counts, metavar="N,...", help="or steps, whatever they cost")
    parser.add_argument("--seeds", type=arguments.wholes(0, arguments.INT64 - 1), metavar="N,...", help="default 0,1,2")
    parser.add_argument("--count", type=arguments.whole(2, 10**6), help="samples a cell, default 1000")
    parser.add_argument("--batch", type=arguments.whole(1, 10**6), default=500, help="of a network call, at most")
    parser.add_argument(
        "--metrics", metavar="NAME,...", help="`torchdiff list metrics`; by default what suits the data"
    )
    parser.add_argument(
        "--budget", type=arguments.seconds, metavar="SECONDS", help="begin no cell that would end later"
    )
    parser.add_argument("--out", default="out/bench", help="folder of the results, default %(default)s")
    parser.add_argument("--device", help="cpu, cuda, ...; by default where the network is")
    parser.add_argument("--dtype", choices=DTYPES, help="of the state and the network, default float32")
    parser.add_argument("--quick", action="store_true", help="by default --calls 5,10,20 --seeds 0 --count 300")
    parser.add_argument("--force", action="store_true", help="go on in a folder that holds another bench")
    parser.add_argument("--no-progress", action="store_true", help="no bar on a terminal")


def run(args: argparse.Namespace) -> int:
    """`torchdiff bench`."""
    given = [name for name in ("preset", "net", "target") if getattr(args, name) is not None]
    if len(given) != 1:
        raise OptionError(
            "say what to sample: digits, --target NAME or --net MODULE:FACTORY; see torchdiff bench --help"
        )
    # what can be refused is refused before torch is loaded and the user's code is run
    SDES.get(args.sde or "vp")
    if args.target is not None:
        TARGETS.get(args.target)
    if not args.out.strip():
        raise OptionError(f"--out is a folder, got {shown(args.out)}")
    storage.reserve(Path(args.out) / "cells.jsonl", (".jsonl",))

    import torch

    from torchdiff import bench
    from torchdiff.cli.sampling import check_memory, folder_on_path, move, network, usable

    device, dtype = usable(args.device), args.dtype or DTYPES[0]
    check_memory((1, *(args.shape or ())), dtype, 1)
    names = ("target", "data", "cond", "shape", "sde", "prediction", "calls", "steps", "seeds", "count", "batch")
    words = {name: getattr(args, name) for name in (*names, "metrics", "budget", "device", "dtype", "quick", "force")}
    words |= {name: getattr(args, name) for name in ("solvers", "grids") if getattr(args, name) is not None}
    with folder_on_path(), stopping.told(f"finished cells are kept in {args.out}, the same command goes on there"):
        if args.net is not None:
            words |= {"net": network(*args.net), "name": ":".join(args.net)}
            move(words["net"], device, getattr(torch, dtype))
        progress = not args.no_progress and sys.stderr.isatty()
        cells = bench.run(args.preset, out=args.out, progress=progress, **words)
        drawn = bench.pictures(cells)
        files = [*bench.plot(cells, args.out, drawn), bench.report(cells, Path(args.out) / "report.html", drawn)]
        if args.preset == "digits":
            files.append(bench.gallery(args.out))
    failed = [cell for cell in cells if cell["problem"]]
    if args.json:
        print(cells.text(), end="")
        return _told_of_failures(failed, len(cells))
    print(bench.table(cells))
    print(f"\n{bench.answer(cells).headline}")
    if len(cells) < cells.header["planned"]:
        print(f"\nthe budget was for {len(cells)} of {cells.header['planned']} cells; the same command goes on")
    print(f"\n{', '.join(str(path) for path in files)}")
    return _told_of_failures(failed, len(cells))


def _told_of_failures(failed: list[dict[str, Any]], count: int) -> int:
    """The exit code: 1 where a run came to nothing, with a line on stderr."""
    if failed:
        first = failed[0]
        text = " ".join(f"{first['key']}: {first['problem']}".split())[:LONGEST]
        print(f"torchdiff: {len(failed)} of {count} cells failed, the first: {text}", file=sys.stderr)
    return 1 if failed else 0
