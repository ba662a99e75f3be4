"""What noising looks like: a digit and a two-dimensional set under VP, VE and CLD, from data to noise.

Writes forward_digit.png and forward_plane.png into the folder given as first argument (default: out).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import torchdiff
from torchdiff import pictures, storage
from torchdiff.zoo import digits, planar

PROCESSES = {"VP": "vp", "VE": "ve", "CLD": "cld"}
FRAMES = [0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0]
FINE = [i / 256 for i in range(257)]


def digit(label: int) -> torch.Tensor:
    """A digit (1, 1, 28, 28) in [-1, 1], by the shipped network: no image comes with the package."""
    net = torchdiff.wrap(digits.unet(), prediction="v")
    cond = {"label": torch.tensor([label])}
    return torchdiff.sample(net, "vp", "dpmpp_2m", calls=20, shape=(1, 1, 28, 28), seed=1, cond=cond).x


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    strip, plane = (storage.reserve(folder / name, (".png",)) for name in ("forward_digit.png", "forward_plane.png"))
    image, points = digit(3), planar.points("swiss_roll", 1500)
    # one seed, so one Brownian path: the fine times of the plane and the frames of the digit only look at it
    frames = [(name, torchdiff.simulate(sde, image, FRAMES, seed=1)) for name, sde in PROCESSES.items()]
    storage.write(strip, lambda file: pictures.strip(file, frames))
    paths = [(name, torchdiff.simulate(sde, points, FINE, seed=1)) for name, sde in PROCESSES.items()]
    storage.write(plane, lambda file: pictures.planes(file, paths, (0, 26, 77, 256)))
    print(f"see {folder / strip.name}, {folder / plane.name}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError) as error:  # no matplotlib, a file that cannot be written, weights not there
        sys.exit(f"forward: {error}")
