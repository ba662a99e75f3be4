"""Every grid at work: sigma / alpha against the step, 20 steps on VP, in four families.

Writes grids.png into the folder given as first argument (default: out).
"""

from __future__ import annotations

import sys
from typing import IO, Any

import torchdiff
from torchdiff import pictures, storage
from torchdiff.grids import Grid

STEPS = 20
FAMILIES = {
    "in t": ("uniform", "quadratic", "beta"),
    "in training indices": ("linspace", "leading", "trailing"),
    "in sigma / alpha": ("log_snr", "karras", "polyexponential:rho=2", "beta_sigma", "laplace", "ays"),
    "in the t of the flow": ("shift:shift=1", "shift:shift=3", "resolution_shift:tokens=256", "linear_quadratic"),
}
SAME = {
    "log_snr": "log_snr = exponential",
    "trailing": "trailing (20 is the data)",
    "ays": "ays (sd15)",
}
WORDS: dict[str, Any] = dict(fontsize=8.5, frameon=False, labelcolor=pictures.INK, handlelength=1.6, borderaxespad=0.0)
COLOURS = ("#20639b", "#d1495b", "#2a9d8f", "#e09f3e", "#7b5ea7", "#5f6b73")


def levels(grid: Grid) -> list[float]:
    """sigma / alpha at each time of the grid; at the data, where it is 0, nothing is drawn."""
    sde = torchdiff.get_sde("vp")
    found = [sde.level(t) for t in grid.times(sde, STEPS)]
    return [level.sigma / level.alpha if level.sigma > 0.0 else float("nan") for level in found]


def draw(file: IO[bytes]) -> None:
    plt = pictures.pyplot()
    figure, axes = plt.subplots(1, 4, figsize=(13.0, 5.0), sharey=True, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.04)
    for axis, (family, specs) in zip(axes, FAMILIES.items(), strict=True):
        for k, spec in enumerate(specs):
            values = levels(torchdiff.get_grid(spec))
            style = dict(color=COLOURS[k], linewidth=1.8 - 0.1 * k, markersize=4.6 - 0.35 * k)
            axis.plot(range(STEPS + 1), values, marker="o", label=SAME.get(spec, spec), markeredgewidth=0.0, **style)
        axis.set(yscale="log", xlim=(-0.6, STEPS + 0.6), ylim=(6e-3, 260.0), xticks=range(0, STEPS + 1, 5))
        axis.set_title(family, fontsize=11, color=pictures.INK, pad=6)
        axis.set_xlabel("step", fontsize=9, color="0.35")
        axis.grid(True, axis="y", color="0.92", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8, colors="0.35", length=2, which="both")
        axis.legend(loc="upper left", bbox_to_anchor=(0.0, -0.13), **WORDS)
        for side, spine in axis.spines.items():
            spine.set(color="0.75", linewidth=0.6, visible=side in ("left", "bottom"))
    axes[0].set_ylabel("sigma / alpha", fontsize=9.5, color=pictures.INK)
    # no version in the file: equal pictures are equal bytes
    figure.savefig(file, dpi=150, format="png", metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    picture = storage.reserve(f"{sys.argv[1] if len(sys.argv) > 1 else 'out'}/grids.png", (".png",))
    storage.write(picture, draw)
    print(f"see {picture}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:  # no matplotlib, a file that cannot be written
        sys.exit(f"grids: {error}")
