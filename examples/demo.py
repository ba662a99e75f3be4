"""The main job: real digits from a trained network, by several samplers, with what each step count buys.

Writes digits.png, steps.png and digits.safetensors into the folder given as first argument (default: out).
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

import matplotlib
import torch
from tqdm import tqdm

import torchdiff
from torchdiff import formats, gaussian, storage
from torchdiff.zoo import digits

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SOLVERS = ("euler_maruyama", "ddpm", "ddim", "heun", "dpmpp_2m")
CALLS = (5, 10, 20)
COUNT = 300  # samples behind each Frechet distance, 30 a digit


def sample(net: torchdiff.Denoiser, solver: str, calls: int, labels: torch.Tensor, **options) -> torchdiff.Samples:
    return torchdiff.sample(
        net, "vp", solver, calls=calls, shape=(len(labels), 1, 28, 28), cond={"label": labels}, **options
    )


def grid(net: torchdiff.Denoiser, judge: torch.nn.Module, picture: Path, file: Path) -> None:
    """100 digits, one row a class, 20 network calls, seeds 0 to 99 as they come."""
    labels = torch.arange(100) // 10
    out = sample(net, "dpmpp_2m", 20, labels, seed=list(range(100)), progress="10 x 10 digits")
    agree = int((judge(out.x).argmax(1) == labels).sum())
    print(f"100 digits, dpmpp_2m, {out.plan.calls} network calls, seeds 0 to 99: the classifier agrees on {agree}")
    storage.write(picture, lambda stream: formats.write_png(stream, out.x))
    facts = {"seed": "0 to 99, one a sample", "plan": repr(out.plan), "noise_version": str(out.noise_version)}
    storage.write(file, lambda stream: formats.write_safetensors(stream, {"x": out.x}, facts))


def measure(net: torchdiff.Denoiser, judge: torch.nn.Module) -> list[dict]:
    """Each solver at each budget: time, exact W2 on Gaussian data with the digits' spectrum, and Frechet distance."""
    real = digits.reference()
    labels = torch.arange(COUNT) % 10
    rows = []
    with tqdm(total=len(SOLVERS) * sum(CALLS) * COUNT, unit="image call", desc="steps against quality") as meter:
        for solver in SOLVERS:
            for calls in CALLS:
                start = time.perf_counter()
                out = sample(net, solver, calls, labels, seed=1000)
                seconds = time.perf_counter() - start
                meter.update(calls * COUNT)
                rows.append(
                    {
                        "solver": solver,
                        "steps": out.plan.steps,
                        "calls": out.plan.calls,
                        "seconds": seconds,
                        "w2": gaussian.w2(out.plan, real["spectrum"].double(), real["mean"].double()),
                        "frechet": digits.frechet(judge.features(out.x), real["features"]),
                    }
                )
    return rows


def show(rows: list[dict], floor: tuple[float, float]) -> None:
    print(f"{'solver':<15} {'steps':>5} {'calls':>5} {'seconds':>8} {'exact W2':>9} {'Frechet':>8}")
    for row in rows:
        print("{solver:<15} {steps:>5} {calls:>5} {seconds:>8.1f} {w2:>9.3f} {frechet:>8.2f}".format(**row))
    print(f"{'real digits':<15} {'':>5} {'':>5} {'':>8} {0:>9.3f} {floor[0]:>8.2f}  (+- {floor[1]:.2f}: the floor)")
    print(
        f"exact W2: the sampler's own error on Gaussian data with the digits' spectrum, nothing sampled. Frechet: of "
        f"{COUNT} samples\nagainst 5000 real digits in a small classifier's features; perfect samples score the floor, "
        f"not 0.\ntorch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"backend: {torchdiff.ops.backend().name}"
    )


def plot(rows: list[dict], floor: tuple[float, float], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    titles = {"w2": "exact W2, Gaussian with the digits' spectrum", "frechet": f"Frechet distance of {COUNT} samples"}
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for solver in SOLVERS:
            mine = [row for row in rows if row["solver"] == solver]
            axis.loglog([row["calls"] for row in mine], [row[key] for row in mine], "o-", label=solver)
        axis.set(title=title, xlabel="network calls")
        axis.set_xticks(CALLS, [str(calls) for calls in CALLS], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[1].axhspan(floor[0] - floor[1], floor[0] + floor[1], color="0.8", label="real against real")
    axes[1].legend()
    storage.write(path, lambda stream: figure.savefig(stream, dpi=120, format="png"))
    plt.close(figure)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    names = ("digits.png", "steps.png", "digits.safetensors")
    picture, curves, file = (storage.reserve(folder / name, (Path(name).suffix,)) for name in names)
    net = torchdiff.wrap(digits.unet(), prediction="v")
    judge = digits.classifier()
    with torch.no_grad():
        grid(net, judge, picture, file)
        rows, floor = measure(net, judge), digits.frechet_floor(COUNT)
    show(rows, floor)
    plot(rows, floor, curves)
    print("see " + ", ".join(str(folder / name) for name in names))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:  # a file that cannot be written, weights that are not there
        sys.exit(f"demo: {error}")
