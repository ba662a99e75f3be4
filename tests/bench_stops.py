"""Stops `torchdiff bench` by real signals, in children of one process that has torch loaded.

    python tests/bench_stops.py FOLDER

Prints a line of JSON for each case: exit code, standard error, seconds from the last signal to the end, and the lines
of cells.jsonl then and after the same command has ended by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from torchdiff import pictures
from torchdiff.bench import machine
from torchdiff.cli import main, stopping

machine.versions()  # asks git once, for all children
pictures.pyplot()
torch.set_num_threads(1)  # a child of fork() must not need the threads of its parent
stopping.PATIENCE = 0.1
NET = """
import hashlib, os, torchdiff
exact, calls = torchdiff.get_target("gmm2d").denoiser("vp"), []
def net(x, t):
    calls.append(1)
    if len(calls) == int(os.environ["STUCK"]):
        os.write(int(os.environ["TELL"]), b".")
        hashlib.pbkdf2_hmac("sha256", b"", b"", {rounds})  # no Python in there, and nothing that a signal wakes
    return exact.net(x, t)
def make(): return torchdiff.wrap(net, "v")
"""
WORDS = "bench --net slow_net:make --data x.npy --solvers ddim,heun,dpmpp_2m --calls 5 --seeds 0 --count 20 --out out "
WORDS += "--metrics sliced_w2:directions=2 --no-progress"
# network calls until the one that hangs: warm-up runs included, in the second cell
STUCK = 16


def child(stuck: int, tell: int = 1) -> int:
    pid = os.fork()
    if pid == 0:
        os.environ |= {"STUCK": str(stuck), "TELL": str(tell)}
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts in the background is born deaf
        errors = os.open("errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(errors, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 99
        try:
            code = main(WORDS.split())
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def cells() -> list[str]:
    path = Path("out/cells.jsonl")
    return [line for line in path.read_text().splitlines() if '"kind":"cell"' in line] if path.exists() else []


def stopped(signals: list[int]) -> dict:
    ear, mouth = os.pipe()
    pid = child(STUCK, mouth)
    os.close(mouth)
    assert os.read(ear, 1) == b"."
    for number in signals:
        time.sleep(0.05)
        os.kill(pid, number)
    began = time.monotonic()
    _, status = os.waitpid(pid, 0)
    seconds = time.monotonic() - began
    os.close(ear)
    said, then = Path("errors").read_text(), cells()
    _, after = os.waitpid(child(0), 0)
    found = {"code": os.waitstatus_to_exitcode(status), "after": os.waitstatus_to_exitcode(after)}
    return found | {"said": said, "seconds": seconds, "then": then, "end": cells()}


if __name__ == "__main__":
    for number, signals in enumerate(([signal.SIGINT], [signal.SIGTERM, signal.SIGINT])):
        place = Path(sys.argv[1]) / str(number)
        place.mkdir()
        os.chdir(place)
        began = time.perf_counter()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)
        rounds = int(0.6 / (time.perf_counter() - began) * 100_000)  # 0.6 s
        Path("slow_net.py").write_text(NET.format(rounds=rounds))
        np.save("x.npy", np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32))
        print(json.dumps({"signals": signals} | stopped(signals)), flush=True)
