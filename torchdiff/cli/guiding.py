"""Guidance on the command line: what `torchdiff.guide` takes, as flags of `sample`."""

from __future__ import annotations

import argparse
from typing import Any

from torchdiff.cli import arguments
from torchdiff.errors import OptionError

FLAGS = ("null", "negative", "shared", "interval", "interval_in", "rescale")  # that mean nothing without --guidance


def add(parser: argparse.ArgumentParser) -> None:
    """The flags, which all wait for --guidance."""
    group = parser.add_argument_group("guidance", "classifier-free: null + SCALE (cond - null)")
    group.add_argument(
        "--guidance", type=arguments.numbers, metavar="SCALE", help="1 is the condition alone; or one for each sample"
    )
    for name, what in (("null", "means no condition: label=10"), ("negative", "samples should not be: label=3")):
        group.add_argument(
            f"--{name}", action="append", type=arguments.condition, metavar="NAME=VALUE", help=f"what {what}"
        )
    group.add_argument("--shared", action="append", metavar="NAME", help="a condition that both sides get")
    group.add_argument("--interval", type=arguments.numbers, metavar="LOW,HIGH", help="of sigma / alpha: guided inside")
    group.add_argument("--interval-in", help="sigma (default), or t: what the interval is of")
    group.add_argument("--rescale", type=arguments.number, help="0 to 1: bring the standard deviation back")


def check(args: argparse.Namespace) -> None:
    """Raises OptionError for flags that do not go together, before anything is loaded."""
    given = [name for name in FLAGS if getattr(args, name) is not None]
    if args.guidance is None:
        if given:
            raise OptionError(f"--{given[0].replace('_', '-')} says how to guide; give --guidance SCALE too")
        return
    if (args.null is None) == (args.negative is None):
        raise OptionError(
            "--guidance needs what the network gets in the place of the condition: one of --null NAME=VALUE "
            "(label=10 for the shipped digits) and --negative NAME=VALUE"
        )
    if len(args.guidance) not in (1, args.shape[0]):
        raise OptionError(
            f"--guidance: give one number, or {args.shape[0]} for {args.shape[0]} samples, got {len(args.guidance)}"
        )


def guided(net: Any, args: argparse.Namespace, sides: dict[str, dict[str, Any]]) -> Any:
    """The network as it was, or guided. sides: the conditions that `null` or `negative` hold, as tensors."""
    if args.guidance is None:
        return net
    from torchdiff.guidance import guide
    from torchdiff.inputs import denoiser

    scale = args.guidance[0] if len(args.guidance) == 1 else args.guidance
    words = {name: getattr(args, name) for name in ("shared", "interval", "interval_in", "rescale")}
    return guide(
        denoiser(net, args.prediction, None),
        scale,
        **sides,
        **{name: value for name, value in words.items() if value is not None},
    )


def facts(args: argparse.Namespace) -> dict[str, Any]:
    """What of the guidance makes these samples again."""
    if args.guidance is None:
        return {}
    told: dict[str, Any] = {"guidance": ",".join(f"{scale:g}" for scale in args.guidance)}
    for name in ("null", "negative"):
        if getattr(args, name) is not None:
            told[name] = " ".join(f"{key}={_words(values)}" for key, values in getattr(args, name))
    for name in ("shared", "interval", "interval_in", "rescale"):
        if (value := getattr(args, name)) is not None:
            told[name] = _words(value) if isinstance(value, list) else str(value)
    return told


def _words(values: list[Any] | None) -> str:
    return "none" if values is None else ",".join(map(str, values))
