"""The grammar of the command `torchdiff`."""

from __future__ import annotations

import argparse
from typing import NoReturn

from torchdiff.cli import (
    analyzing,
    arguments,
    benching,
    checking,
    doctor,
    guiding,
    listing,
    planning,
    plugins,
    sampling,
    simulating,
    tuning,
)
from torchdiff.errors import OptionError


class Parser(argparse.ArgumentParser):
    """argparse, with its errors as ours: one line, and the way to the help."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; see {self.prog} --help")


def parser() -> Parser:
    """All commands; `run(args)` of each returns the exit code."""
    top = Parser(
        prog="torchdiff",
        description="Turn a trained score, diffusion or flow network into samples.",
        epilog="SDEs, solvers and grids are names with options: vp, ddim:eta=0.5, "
        "predictor_corrector:predictor=(ddim:eta=1),corrector=langevin. `torchdiff list` shows them.",
    )
    top.add_argument("--version", action="store_true", help="print the version")
    top.set_defaults(run=_no_command)
    commands = top.add_subparsers(metavar="COMMAND", parser_class=Parser)

    sample = commands.add_parser("sample", help="sample a network into a file", description=sampling.__doc__)
    sample.add_argument(
        "--net",
        required=True,
        type=arguments.factory,
        metavar="MODULE:FACTORY",
        help="called without arguments, returns the network, or a torchdiff.wrap of it; its code is run",
    )
    sample.add_argument("--sde", required=True, help="the forward process that the network was trained on")
    best = "by default what did best at so many steps: docs/auto.md"
    sample.add_argument("--solver", default="auto", help=best)
    sample.add_argument(
        "--shape", required=True, type=arguments.shape, metavar="B,...", help="of the samples, the batch first"
    )
    _add_plan(sample)
    size, draw = arguments.whole(0, arguments.INT64 - 1), arguments.whole(0, 2 * arguments.INT64 - 1)
    sample.add_argument("--seed", type=draw, help="the same seed gives the same samples; one is drawn by default")
    sample.add_argument(
        "--first-index", type=size, default=0, help="number of the first sample: go on where a run ended"
    )
    sample.add_argument(
        "--cond",
        action="append",
        default=[],
        type=arguments.condition,
        metavar="NAME=VALUE",
        help="argument of the network: label=3, or label=0,1,2,... (one a sample), or label=none",
    )
    guiding.add(sample)
    sample.add_argument("--dtype", choices=sampling.DTYPES, default="float32", help="of the state and the network")
    sample.add_argument("--device", help="cpu, cuda, cuda:1; by default where the network is")
    sample.add_argument("--out", default="out/samples.safetensors", help=".safetensors or .npz, default %(default)s")
    sample.add_argument("--png", help="a picture of all samples, for B,H,W or B,C,H,W in [-1, 1]")
    sample.add_argument("--no-progress", action="store_true", help="no bar on a terminal")
    _finish(sample, sampling.run, "print what was done as JSON")

    names = commands.add_parser("list", help="SDEs, solvers, grids, targets, metrics", description=listing.__doc__)
    names.add_argument(
        "kind", nargs="?", metavar="sdes|solvers|grids|targets|metrics", help="only these; all by default"
    )
    names.add_argument("pattern", nargs="?", help="only names like 'dp*'")
    _finish(names, listing.run, "print a JSON list")

    plan = commands.add_parser("plan", help="what a run will compute, step by step", description=planning.__doc__)
    plan.add_argument("sde")
    plan.add_argument(
        "solver", nargs="?", default="auto", help="by default what did best at so many steps: docs/auto.md"
    )
    _add_plan(plan)
    _finish(plan, planning.run, "print the plan as JSON (torchdiff.Plan.from_json reads it)")

    _add_analyze(commands)
    _add_tune(commands)

    laws = commands.add_parser("check", help="measure an SDE or a solver", description=checking.__doc__)
    laws.add_argument("target", help="a name with options, or package.module:attribute")
    laws.add_argument("--kind", choices=("sde", "solver"), help="which of the two, where a name is both")
    laws.add_argument("--on", action="append", default=[], metavar="SDE", help="check a solver on this process; repeat")
    laws.add_argument(
        "--timeout", type=arguments.seconds, default=300.0, help="seconds until it is stopped, default %(default)g"
    )
    _finish(laws, checking.run, "print the report as JSON")

    _add_plugins(commands.add_parser("plugins", help="what is installed; begin one", description=plugins.__doc__))
    _add_simulate(commands)

    bench = commands.add_parser(
        "bench", help="steps against quality, of solvers and grids", description=benching.__doc__
    )
    benching.add(bench)
    _finish(bench, benching.run, "print the cells, a JSON line each")

    check = commands.add_parser("doctor", help="what is installed, and is it well", description=doctor.__doc__)
    _finish(check, doctor.run, "print the checks as JSON")
    return top


def _add_plugins(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(metavar="list|new", parser_class=Parser)
    listed = what.add_parser("list", help="what is installed, and what is wrong with it", description=plugins.__doc__)
    listed.add_argument("--load", action="store_true", help="load each one, in a process of its own")
    _finish(listed, plugins.run, "print a JSON list")
    new = what.add_parser("new", help="write a package with an SDE, a solver and tests", description=plugins.__doc__)
    new.add_argument("name", help="of the SDE, the solver and the package: lower-case letters, digits and _")
    new.add_argument("--folder", help="where to, default torchdiff-NAME; it may exist if it is empty")
    _finish(new, plugins.new, "print what was written as JSON")
    _finish(parser, plugins.run, "print a JSON list")


def _add_analyze(commands) -> None:
    analyze = commands.add_parser(
        "analyze", help="the exact error of a solver against steps", description=analyzing.__doc__
    )
    analyze.add_argument("sde")
    analyze.add_argument("solver")
    length = analyze.add_mutually_exclusive_group()
    length.add_argument("--steps", type=arguments.counts, metavar="N,N,...", help="default 5,10,20,50")
    length.add_argument("--calls", type=arguments.counts, metavar="N,N,...", help="network calls in the place of steps")
    analyze.add_argument("--grid", help="spacing of the times: log_snr, karras:rho=7, optimal, ...")
    _add_data(analyze)
    _finish(analyze, analyzing.run, "print all numbers as JSON, those of each eigenvalue too")


def _add_tune(commands) -> None:
    tune = commands.add_parser("tune", help="which solver, which grid, how many steps", description=tuning.__doc__)
    tune.add_argument("sde")
    tune.add_argument(
        "--solvers", type=arguments.specs, metavar="S,S,...", help="names with options, or patterns like 'dpmpp_*'"
    )
    tune.add_argument(
        "--grids", type=arguments.specs, metavar="G,G,...", help="all of them by default, optimal where it is worth it"
    )
    tune.add_argument("--calls", type=arguments.counts, default=[5, 8, 10, 20], metavar="N,N,...", help="5,8,10,20")
    aim = tune.add_mutually_exclusive_group()
    aim.add_argument("--quality", type=arguments.above_zero, help="the fewest calls with an error of at most this")
    aim.add_argument("--budget", type=arguments.whole(1, arguments.MOST_STEPS), help="at most so many calls")
    _add_data(tune)
    tune.add_argument("--export", metavar="FILE", help="write the times of the recommendation, .json or .txt")
    tune.add_argument(
        "--as", dest="numbers", choices=("times", "sigmas"), help="what --export writes: times, or sigma / alpha"
    )
    _finish(tune, tuning.run, "print the front and all candidates as JSON")


def _add_data(parser: argparse.ArgumentParser) -> None:
    """The flags of what is exact: the data's spectrum and the ends."""
    parser.add_argument(
        "--spectrum",
        default="power",
        help="of the Gaussian data: power:exponent=1.2,count=256 (default), digits, or a file of data: .npy, .npz or "
        ".safetensors with x, of images also dct:file=(...)",
    )
    parser.add_argument("--t-min", type=arguments.number, help="where the grid ends, by default the SDE's")
    parser.add_argument("--t-max", type=arguments.number, help="where it starts")
    parser.add_argument("--final", help="denoise: end with a step to the data (default); t_min: end at t_min")


def _add_simulate(commands) -> None:
    simulate = commands.add_parser(
        "simulate", help="run a forward SDE on data, into a picture or a file", description=simulating.__doc__
    )
    simulate.add_argument("sde")
    simulate.add_argument(
        "--data",
        default="digits",
        help="digits (made by the shipped network, the default); swiss_roll, moons, rings, pinwheel; or the x of "
        "a .safetensors file",
    )
    simulate.add_argument("--count", type=arguments.whole(1, 10**6), help="how many; by default 1 digit, 1500 points")
    simulate.add_argument(
        "--times", type=arguments.numbers, metavar="T,T,...", help="9 from 0 to t_max by default, 4 for points"
    )
    simulate.add_argument("--method", help="exact (default), euler_maruyama, torchsde:method=srk, ...")
    simulate.add_argument(
        "--steps",
        type=arguments.whole(1, arguments.MOST_STEPS),
        help="between two times, for methods that are not exact",
    )
    simulate.add_argument(
        "--noise", default="brownian", help="brownian (default): one path whatever the times; or white"
    )
    simulate.add_argument("--seed", type=arguments.whole(0, 2 * arguments.INT64 - 1), help="drawn by default")
    simulate.add_argument("--first-index", type=arguments.whole(0, arguments.INT64 - 1), default=0)
    simulate.add_argument("--out", default="out/noising.png", help=".png, .safetensors or .npz, default %(default)s")
    _finish(simulate, simulating.run, "print what was done as JSON")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    """The flags that `sample` and `plan` share."""
    length = parser.add_mutually_exclusive_group(required=True)
    count = arguments.whole(1, arguments.MOST_STEPS)
    length.add_argument("--steps", type=count, help="intervals of the grid")
    length.add_argument("--calls", type=count, help="the most network calls to spend")
    length.add_argument("--times", type=arguments.numbers, metavar="T,T,...", help="the grid itself")
    length.add_argument(
        "--sigmas", type=arguments.numbers, metavar="S,S,...", help="the grid as sigma / alpha; a last 0 is the data"
    )
    parser.add_argument("--grid", help="spacing of the times: log_snr, uniform, karras:rho=7, ...")
    parser.add_argument(
        "--prediction", help="what the network returns: eps, x0, v, score, flow, edm:sigma_data=0.5, ..."
    )
    parser.add_argument("--final", help="denoise: end with a step to the data (default); t_min: end at t_min")
    parser.add_argument(
        "--noise", default="white", help="white (default), or brownian: one path at any number of steps"
    )
    parser.add_argument("--t-min", type=arguments.number, help="where the grid ends, by default the SDE's")
    parser.add_argument("--t-max", type=arguments.number, help="where it starts")


def _finish(parser: argparse.ArgumentParser, run, json_help: str) -> None:
    parser.add_argument("--json", action="store_true", help=json_help)
    parser.set_defaults(run=run)


def _no_command(args: argparse.Namespace) -> int:
    if not args.version:
        raise OptionError(
            "choose a command: sample, list, plan, analyze, tune, simulate, bench, check, plugins or doctor; "
            "see torchdiff --help"
        )
    from torchdiff import __version__

    print(f"torchdiff-sde {__version__}")
    return 0
