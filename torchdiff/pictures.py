"""Pictures of noising: a strip of frames for images, sets and paths for two dimensions. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import torch
from torch import Tensor

from torchdiff.errors import DependencyError, OptionError
from torchdiff.simulation import Paths

INK = "#20303c"
LINES = 12  # paths drawn one by one


def pyplot() -> Any:
    """matplotlib.pyplot without a screen. Raises DependencyError where matplotlib is not installed."""
    try:
        from matplotlib import use

        use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise DependencyError(
            f"pictures need matplotlib, which does not import ({error}); the way out: pip install matplotlib, or store "
            f"the numbers in a .safetensors or .npz file"
        ) from error
    return plt


def strip(file: IO[bytes], rows: Sequence[tuple[str, Paths]]) -> None:
    """Images (T, B, 1 or 3, H, W) or (T, B, H, W) as PNG: a row a sample, time from left to right.

    Each frame is shown at its own scale, [-1, 1] at least and all but the outer hundredths of its values, so that noise
    of any size is grey noise; the number below is its standard deviation.
    """
    plt = pyplot()
    images = [(name, t, _image(x)) for name, paths in rows for t, x in _frames(paths)]
    across, down = len(rows[0][1].times), len(images) // len(rows[0][1].times)
    figure, axes = plt.subplots(
        down, across, figsize=(1.15 * across + 0.9, 1.45 * down + 0.1), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.03, wspace=0.0, hspace=0.02)
    for k, (axis, (name, t, image)) in enumerate(zip(axes.flat, images, strict=True)):
        black, white = _scale(image)
        axis.imshow(
            ((image - black) / (white - black)).clip(0.0, 1.0), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest"
        )
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set(color="0.75", linewidth=0.6)
        axis.set_xlabel(f"sd {float(image.std()):.2g}", fontsize=7.5, color="0.4", labelpad=2)
        if k < across:
            axis.set_title(f"t = {t:.3g}", fontsize=8.5, color=INK, pad=4)
        if k % across == 0:
            axis.set_ylabel(name, fontsize=10, color=INK, labelpad=6)
    _save(figure, file)


def planes(file: IO[bytes], rows: Sequence[tuple[str, Paths]], frames: Sequence[int]) -> None:
    """Sets (T, B, 2) as PNG, a row an SDE: the points at some of the times, then one coordinate of some paths.

    frames: the indices of the times that are shown as points. An SDE with a velocity has a panel for that too.
    """
    plt = pyplot()
    panels = max(len(paths.state) for _, paths in rows)
    widths = [1.0] * len(frames) + [2.9 / panels] * panels
    figure = plt.figure(figsize=(1.9 * sum(widths), 2.1 * len(rows)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.05)
    cells = figure.add_gridspec(len(rows), len(widths), width_ratios=widths)
    for row, (name, paths) in enumerate(rows):
        hue = paths.x[0, :, 0].argsort().argsort()
        for column, k in enumerate(frames):
            axis = figure.add_subplot(cells[row, column])
            _points(axis, paths.x[k], hue, f"t = {paths.times[k]:.2g}", paths.x[0])
            if column == 0:
                axis.set_ylabel(name, fontsize=11, color=INK)
        places = [len(frames) + i for i in range(panels)]
        slots = [slice(places[0], None)] if len(paths.state) == 1 else places
        for slot, block, what in zip(slots, paths.state, ("position", "velocity"), strict=False):
            axis = figure.add_subplot(cells[row, slot])
            title = f"first coordinate of the {what}" if len(paths.state) > 1 else "first coordinate"
            _lines(axis, paths.times, block, hue, title)
    _save(figure, file)


def _points(axis: Any, x: Tensor, hue: Tensor, title: str, start: Tensor) -> None:
    reach = 1.08 * max(float(x.abs().quantile(0.995)), float(start.abs().max()))
    axis.scatter(x[:, 0], x[:, 1], c=hue, cmap="viridis", s=2.2, linewidths=0, alpha=0.8)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axis.set_title(title, fontsize=8.5, color=INK, pad=3)
    axis.set_xlabel(f"\u00b1{reach:.3g}", fontsize=7.5, color="0.4", labelpad=2)
    for spine in axis.spines.values():
        spine.set(color="0.75", linewidth=0.6)


def _lines(axis: Any, times: Sequence[float], block: Tensor, hue: Tensor, title: str) -> None:
    from matplotlib import colormaps

    chosen = torch.linspace(0, block.shape[1] - 1, min(LINES, block.shape[1])).long()
    chosen = hue.argsort()[chosen]
    for i in chosen:
        colour = colormaps["viridis"](float(hue[i]) / max(1, len(hue) - 1))
        axis.plot(times, block[:, i, 0], color=colour, linewidth=0.8)
    spread = 2.0 * block[:, :, 0].std(dim=1)
    centre = block[:, :, 0].mean(dim=1)
    axis.fill_between(times, centre - spread, centre + spread, color="0.88", linewidth=0, zorder=0)
    axis.set_title(title, fontsize=8.5, color=INK, pad=3)
    axis.set_xlim(times[0], times[-1])
    axis.set_xlabel("t", fontsize=7.5, color="0.4", labelpad=1)
    axis.tick_params(labelsize=7, colors="0.35", length=2)
    for side, spine in axis.spines.items():
        spine.set(color="0.75", linewidth=0.6, visible=side in ("left", "bottom"))


def _frames(paths: Paths) -> list[tuple[float, Tensor]]:
    return [(t, paths.x[k, i]) for i in range(paths.x.shape[1]) for k, t in enumerate(paths.times)]


def _image(x: Tensor) -> Any:
    """(H, W) or (H, W, 3) float64."""
    x = x.detach().cpu().double()
    if x.dim() == 3 and x.shape[0] in (1, 3):
        x = x[0] if x.shape[0] == 1 else x.permute(1, 2, 0)
    if x.dim() not in (2, 3):
        raise OptionError(f"a strip needs images (H, W), (1, H, W) or (3, H, W), got {tuple(x.shape)}")
    return x.numpy()


def _scale(image: Any) -> tuple[float, float]:
    """Black and white: all but the outer hundredths of the values, [-1, 1] at least."""
    ordered = torch.as_tensor(image).reshape(-1)
    return min(-1.0, float(ordered.quantile(0.01))), max(1.0, float(ordered.quantile(0.99)))


def _save(figure: Any, file: IO[bytes]) -> None:
    # no date and no version in the file: equal pictures are equal bytes
    figure.savefig(file, dpi=150, format="png", metadata={"Software": None})
    pyplot().close(figure)
