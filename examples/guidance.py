"""What guidance buys and what it costs: digits of one seed at rising scales, how many are right, how alike they become.

Guided by the label, or without one by the gradient of a classifier. Ours is of clean digits, so it is asked at the
network's E[x0 | x], and the gradient goes through the network; and it is the judge of what comes out, which flatters.
Writes guidance.png into the folder given as first argument (default: out). About 3 minutes on 2 cores.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

import torchdiff
from torchdiff import pictures, storage
from torchdiff.zoo import digits

SHOWN = (0.0, 1.0, 2.0, 4.0, 8.0)
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
INTERVAL = (0.4, 2.5)  # of sigma / alpha, where the digit takes shape
WAYS = {
    "everywhere": (None, SCALES),
    f"only where {INTERVAL[0]} < \u03c3/\u03b1 \u2264 {INTERVAL[1]}": (INTERVAL, SCALES[2:]),
}
GRADIENT, BY_GRADIENT = "judge's gradient, no label", (1.0, 2.0, 4.0, 8.0)
GRADIENT_SHOWN = 4.0
COUNT, CALLS, SEED = 400, 12, 0  # samples behind each point, 40 a digit; the same seeds everywhere
NONE = 10  # the label of no label
COLOURS = ("#d1495b", "#2e6f95", "#e09f3e")


class Point(NamedTuple):
    """Mean and standard error of what was measured at one scale."""

    right: tuple[float, float]
    spread: tuple[float, float]
    distance: tuple[float, float]


def sample(net: torchdiff.Denoiser, labels: torch.Tensor, scale: float, interval=None) -> torch.Tensor:
    guided = torchdiff.guide(net, scale, null={"label": NONE}, interval=interval)
    shape, cond = (len(labels), 1, 28, 28), {"label": labels}
    return torchdiff.sample(guided, "vp", "dpmpp_2m", calls=CALLS, shape=shape, seed=SEED, cond=cond).x


def sample_by_gradient(net: torchdiff.Denoiser, judge: Any, labels: torch.Tensor, scale: float) -> torch.Tensor:
    """Without the label: score + scale grad log p(label | E[x0 | x_t]), through the network."""
    sde, none = torchdiff.get_sde("vp"), torch.full_like(labels, NONE)

    def log_prob(x: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        _, alpha, sigma = sde.level(float(t[0]))
        x0 = alpha * x - sigma * net.net(x, t, label=none)  # of the network's v
        return torch.log_softmax(judge(x0), dim=1).gather(1, label[:, None])

    guided = torchdiff.classifier_guide(net, log_prob, scale, cond={"label": labels})
    shape, cond = (len(labels), 1, 28, 28), {"label": none}
    return torchdiff.sample(guided, sde, "dpmpp_2m", calls=CALLS, shape=shape, seed=SEED, cond=cond).x


def spread(features: torch.Tensor, labels: torch.Tensor) -> float:
    """The mean over digits of the total variance of a digit's features."""
    return sum(float(features[labels == k].double().var(dim=0).sum()) for k in range(10)) / 10.0


def measure(x: torch.Tensor, labels: torch.Tensor, judge, real: dict[str, torch.Tensor]) -> Point:
    """Accuracy with its binomial error; variety and Frechet distance with a jackknife's over twentieths."""
    features, count = judge.features(x), len(labels)
    right = int((judge.logits(features).argmax(1) == labels).sum())
    chance = (right + 1) / (count + 2)  # Laplace's: all right does not mean no error
    whole = spread(real["features"], real["labels"])

    def seen(rows: torch.Tensor) -> tuple[float, float]:
        return spread(features[rows], labels[rows]) / whole, digits.frechet(features[rows], real["features"])

    group = torch.arange(count) // 10 % 20  # ten labels in each ten rows: a group has as many of each digit
    without = torch.tensor([seen(group != k) for k in range(20)], dtype=torch.float64)
    errors = (19.0 * without.var(dim=0, correction=0)).sqrt().tolist()
    (variety, distance) = seen(group >= 0)
    return Point(
        (right / count, math.sqrt(chance * (1.0 - chance) / count)), (variety, errors[0]), (distance, errors[1])
    )


def plot(file: Any, strips: list[torch.Tensor], points: dict[str, list[Point]], floor: tuple[float, float]) -> None:
    plt = pictures.pyplot()
    plt.rcParams.update({"font.size": 8.5, "axes.edgecolor": "0.75", "axes.linewidth": 0.7})
    figure = plt.figure(figsize=(10.0, 6.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05, hspace=0.04)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.2, 1.02))
    mosaic(top, strips)
    panels = bottom.subplots(1, 3)
    titles = ("samples that are the digit asked for", "variety within a digit, real digits = 1", "Fréchet distance")
    for axis, name, title in zip(panels, Point._fields, titles, strict=True):
        for (way, rows), colour in zip(points.items(), COLOURS, strict=True):
            values, errors = zip(*(getattr(row, name) for row in rows), strict=True)
            axis.errorbar(
                BY_GRADIENT if way == GRADIENT else WAYS[way][1],
                values,
                errors,
                color=colour,
                marker="o",
                ms=3.6,
                lw=1.4,
                capsize=2.2,
                label=way,
            )
        axis.set_title(title, fontsize=9.5, color=pictures.INK, pad=7)
        axis.set_xlabel("guidance scale", color="0.35")
        axis.tick_params(colors="0.35", length=2.5)
        axis.set_xlim(-0.25, 8.25)
        axis.grid(color="0.92", lw=0.7)
        axis.set_axisbelow(True)
        axis.axvline(1.0, color="0.7", lw=0.8, ls=(0, (4, 3)))
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    panels[0].set_ylim(0.0, 1.04)
    panels[0].yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    panels[0].legend(frameon=False, loc="lower right", fontsize=7.5, title="guided", alignment="left")
    panels[0].text(1.14, 0.5, "the label\nalone", color="0.45", fontsize=7.5)
    panels[1].axhline(1.0, color="0.35", lw=0.9)
    for axis, ticks in ((panels[1], (0.25, 0.5, 1, 2, 4)), (panels[2], (0.5, 1, 2, 5, 10, 20))):
        axis.set_yscale("log")
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    panels[2].axhspan(floor[0] - floor[1], floor[0] + floor[1], color="0.86", lw=0)
    panels[2].text(8.2, floor[0], "real against real", ha="right", va="center", color="0.4", fontsize=7.5)
    figure.savefig(file, dpi=150, format="png", metadata={"Software": None})
    plt.close(figure)


def mosaic(figure: Any, strips: list[torch.Tensor]) -> None:
    """A row a scale; a column is one seed and one label."""
    gap = 3
    axes = figure.subplots(len(strips), 1, gridspec_kw={"hspace": 0.0})
    for axis, strip, scale in zip(axes, strips, (*SHOWN, None), strict=True):
        tiles = torch.nn.functional.pad(strip[:, 0].clamp(-1.0, 1.0), (0, gap, 0, 0), value=-2.0)
        row = torch.cat(list(tiles), dim=1)[:, :-gap]
        image = (1.0 - row) / 2.0  # ink on paper; what is no image is white too
        axis.imshow(image.clamp(0.0, 1.0).numpy(), cmap="gray", vmin=0.0, vmax=1.0, interpolation="lanczos")
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
        note = {0.0: "no label", 1.0: "the label", None: "gradient"}.get(scale, "")
        axis.set_ylabel(
            f"{GRADIENT_SHOWN if scale is None else scale:g}",
            rotation=0,
            ha="right",
            va="center",
            fontsize=10,
            color=pictures.INK,
            labelpad=8,
        )
        if note:
            axis.text(-0.058, 0.12, note, transform=axis.transAxes, ha="left", fontsize=7, color="0.45")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    picture = storage.reserve(folder / "guidance.png", (".png",))
    net, judge, real = torchdiff.wrap(digits.unet(), prediction="v"), digits.classifier(), digits.reference()
    labels, few = torch.arange(COUNT) % 10, torch.arange(20) % 10
    points: dict[str, list[Point]] = {way: [] for way in (*WAYS, GRADIENT)}
    print(f"{'scale':>5} {'guided':<32} {'right':>14} {'variety':>14} {'Frechet':>14}")

    def see(way: str, scale: float, x: torch.Tensor) -> None:
        point = measure(x, labels, judge, real)
        points[way].append(point)
        words = " ".join(f"{mean:>7.3f} \u00b1{error:.3f}" for mean, error in point)
        tqdm.write(f"{scale:>5g} {way:<32} {words}", file=sys.stdout)

    with torch.no_grad():
        strips = [sample(net, few, scale) for scale in SHOWN]
        strips.append(sample_by_gradient(net, judge, few, GRADIENT_SHOWN))
        for way, (interval, scales) in WAYS.items():
            for scale in tqdm(scales, desc=way, leave=False):
                see(way, scale, sample(net, labels, scale, interval))
        for scale in tqdm(BY_GRADIENT, desc=GRADIENT, leave=False):
            see(GRADIENT, scale, sample_by_gradient(net, judge, labels, scale))
        floor = digits.frechet_floor(COUNT)
    storage.write(picture, lambda file: plot(file, strips, points, floor))
    print(f"Frechet distance of {COUNT} real digits: {floor[0]:.3f} \u00b1{floor[1]:.3f}. See {picture}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:  # no matplotlib, a file that cannot be written, weights not there
        sys.exit(f"guidance: {error}")
