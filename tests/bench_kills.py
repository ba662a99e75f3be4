"""Kills a bench at random moments, again and again, in children of one process that has torch loaded.

    python tests/bench_kills.py FOLDER KILLS SEED

Prints a line of JSON: how often a child was killed at work, how many cells stood after each kill, and what went wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import torchdiff
from torchdiff import bench
from torchdiff.bench import machine

machine.versions()  # asks git once, for all children
torch.set_num_threads(1)  # a child of fork() must not need the threads of its parent
DATA = torchdiff.get_target("gmm2d").sample(100, seed=3).float()
EXACT = torchdiff.get_target("gmm2d").denoiser(torchdiff.get_sde("vp")).net


def work(folder: Path, seeds: int, tell: int | None = None) -> None:
    """tell: a pipe that gets a byte at each network call."""

    def net(x, t):
        time.sleep(0.002)
        if tell is not None:
            os.write(tell, b".")
        return EXACT(x, t)

    bench.run(
        net=torchdiff.wrap(net, "v"), data=DATA, solvers="ddim,dpmpp_2m,heun", calls=(3, 5, 9), seeds=range(seeds),
        count=20, metrics="sliced_w2:directions=2", out=folder,
    )  # fmt: skip


def child(folder: Path, seeds: int, tell: int | None = None) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(folder, seeds, tell)
            code = 0
        finally:
            os._exit(code)
    return pid


def records(folder: Path) -> list[str]:
    """The lines of the file, all of them whole; [] before there is one."""
    path = folder / "cells.jsonl"
    if not path.exists():
        return []
    bench.load(folder)  # raises for half a record
    return path.read_text(encoding="utf-8").splitlines()


def main(folder: Path, kills: int, seed: int, seeds: int) -> dict:
    draw = random.Random(seed)
    killed, stood, wrong, before = 0, [], [], []
    for _ in range(kills):
        ear, mouth = os.pipe()
        pid = child(folder, seeds, mouth)
        os.close(mouth)
        if draw.random() < 0.7:  # while cells are made, after so many network calls; else anywhere from the start
            heard, wanted = 0, draw.randint(1, 40)
            while heard < wanted and (more := len(os.read(ear, wanted - heard))):
                heard += more
            time.sleep(draw.uniform(0.0, 0.05))
        else:
            time.sleep(draw.uniform(0.0, 0.3))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(ear)
        killed += os.WIFSIGNALED(status)
        now = records(folder)
        cells = [line for line in now if '"kind":"cell"' in line]
        if cells[: len(before)] != before:  # made again, it would have other times
            wrong.append(f"after {killed} kills: a finished cell changed")
        before = cells
        stood.append(len(cells))
    _, status = os.waitpid(child(folder, seeds), 0)
    if status:
        wrong.append(f"the last run ended with {status}")
    now = records(folder)
    if not set(before) <= set(now):
        wrong.append("the last run made a finished cell again")
    drafts = [str(path) for path in folder.rglob(".*.tmp")]
    return {"killed": killed, "stood": stood, "wrong": wrong, "drafts": drafts, "cells": len(now)}


if __name__ == "__main__":
    place, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    # enough cells that the last kill still meets work
    print(json.dumps(main(place / "killed", kills, seed, seeds=2 + kills // 4)))
    work(place / "whole", seeds=2 + kills // 4)
