"""A hundred digits, one row a class, as they come."""

from __future__ import annotations

from pathlib import Path

import torch

from torchdiff import formats, storage
from torchdiff.sampling import sample
from torchdiff.wrapping import wrap
from torchdiff.zoo import digits


def gallery(out: str | Path) -> Path:
    """digits.png in the folder `out`, and digits.safetensors with the numbers: dpmpp_2m, 20 calls, seeds 0 to 99.

    Written once: what is there is left. Raises StorageError, and what torchdiff.zoo.digits.read raises.
    """
    picture = storage.reserve(Path(out) / "digits.png", (".png",))
    file = storage.reserve(Path(out) / "digits.safetensors", (".safetensors",))
    if picture.exists() and file.exists():
        return picture
    words = {"shape": (100, 1, 28, 28), "seed": list(range(100)), "cond": {"label": torch.arange(100) // 10}}
    done = sample(wrap(digits.unet(), "v"), "vp", "dpmpp_2m", calls=20, **words)
    facts = {"seed": "0 to 99, one a sample", "plan": repr(done.plan), "noise_version": str(done.noise_version)}
    storage.write(file, lambda stream: formats.write_safetensors(stream, {"x": done.x}, facts))
    storage.write(picture, lambda stream: formats.write_png(stream, done.x))
    return picture
