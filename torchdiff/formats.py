"""Samples as files: safetensors, npz and a PNG grid. The same samples give the same bytes."""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO

import numpy as np
import torch
from torch import Tensor

from torchdiff.errors import OptionError

_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def write_safetensors(file: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """The safetensors format: length of the header, header, data. float64, float32, float16 and bfloat16 tensors.

    Not safetensors.torch.save: it writes the metadata in another order in every process.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name, tensor in tensors.items():
        end = start + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data starts at a multiple of 8, as readers that map the file expect
    file.write(struct.pack("<Q", len(text)) + text)
    for tensor in tensors.values():
        file.write(_array(tensor.detach().reshape(-1).contiguous().view(torch.uint8)).data)


def write_npz(file: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """numpy.load reads it: an array for each tensor, and `metadata`, a JSON text. No bfloat16: numpy has none."""
    arrays = {name: _array(tensor) for name, tensor in tensors.items()} | {
        "metadata": np.array(json.dumps(dict(metadata)))
    }
    with zipfile.ZipFile(file, "w") as archive:  # not numpy.savez: it writes the time of day
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as part:
                np.lib.format.write_array(part, array, allow_pickle=False)


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, height, width) of a batch of images (B, H, W) or (B, 1 or 3, H, W). Raises OptionError for others."""
    if len(shape) == 3:
        return 1, int(shape[1]), int(shape[2])
    if len(shape) == 4 and shape[1] in (1, 3):
        return int(shape[1]), int(shape[2]), int(shape[3])
    raise OptionError(f"a picture needs shape B,H,W or B,1,H,W or B,3,H,W, got {','.join(map(str, shape))}")


def write_png(file: IO[bytes], x: Tensor, gap: int = 2) -> None:
    """All images of x, values in [-1, 1] and clipped to it, in a grid that is about as wide as high."""
    channels, height, width = image_shape(x.shape)
    pixels = ((x.detach().double().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    images = _array(pixels.reshape(-1, channels, height, width))
    across = max(1, math.ceil(math.sqrt(len(images))))
    down = max(1, math.ceil(len(images) / across))
    canvas = np.full((down * (height + gap) + gap, across * (width + gap) + gap, channels), 128, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // across * (height + gap), gap + i % across * (width + gap)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    lines = np.concatenate([np.zeros((len(canvas), 1), np.uint8), canvas.reshape(len(canvas), -1)], axis=1)
    head = struct.pack(">IIBBBBB", canvas.shape[1], canvas.shape[0], 8, 0 if channels == 1 else 2, 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")):
        file.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
