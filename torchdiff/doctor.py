"""What is installed and how well it is: the checks behind `torchdiff doctor`. They look and change nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from torchdiff.plugins import allowed, installed

OLDEST_TORCH = (2, 10)
STRANGER = "torchdiff"  # on PyPI this name is another project, which installs a package of the same name


class Check(NamedTuple):
    """One finding. status: "ok", "note" (worth knowing) or "wrong" (to be mended); fix: the way out."""

    name: str
    status: str
    value: str
    fix: str = ""


def examine() -> list[Check]:
    """All checks. One that fails itself is a finding, not an error."""
    found = []
    for look in (_python, _package, _stranger, _torch, _backend, _noise, _plugins):
        try:
            found += list(look())
        except Exception as error:
            found.append(Check(look.__name__[1:], "wrong", f"{type(error).__name__}: {error}"))
    return found


def _python() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)} {platform.machine()}")


def _package() -> Iterator[Check]:
    import torchdiff

    here = Path(torchdiff.__file__ or "").resolve().parent
    try:
        dist = metadata.distribution("torchdiff-sde")
    except metadata.PackageNotFoundError:
        yield Check("torchdiff-sde", "note", f"runs from {here}, not installed", f"pip install {here.parent}")
        return
    home = _home(dist)
    if home is not None and home != here:
        fix = f"leave the folder {here.parent}, or uninstall one of the two"
        yield Check("torchdiff-sde", "wrong", f"installed in {home}, but {here} is imported", fix)
    elif dist.version != getattr(torchdiff, "__version__", None):
        fix = "reinstall torchdiff-sde"
        yield Check("torchdiff-sde", "wrong", f"{dist.version} is installed, the code is another version", fix)
    else:
        yield Check("torchdiff-sde", "ok", f"{dist.version} in {here}")


def _home(dist: metadata.Distribution) -> Path | None:
    """The folder of the package that the distribution installed; of an editable one, in its sources."""
    origin = json.loads(dist.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        from urllib.parse import urlparse
        from urllib.request import url2pathname

        return (Path(url2pathname(urlparse(origin["url"]).path)) / "torchdiff").resolve()
    file = Path(str(dist.locate_file("torchdiff/__init__.py")))
    return file.resolve().parent if file.is_file() else None


def _stranger() -> Iterator[Check]:
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version(STRANGER)
        value = f"{STRANGER} {version}, an unrelated project that owns the same folder torchdiff/, is installed too"
        yield Check(
            "namesake", "wrong", value, "pip uninstall torchdiff torchdiff-sde; then install torchdiff-sde again"
        )


def _torch() -> Iterator[Check]:
    if importlib.util.find_spec("torch") is None:
        yield Check("torch", "wrong", "not installed", "pip install torch")
        return
    import torch

    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    old = version < OLDEST_TORCH
    fix = "pip install --upgrade torch" if old else ""
    yield Check("torch", "wrong" if old else "ok", f"{torch.__version__}, {torch.get_num_threads()} threads", fix)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("cuda", "ok", f"{torch.version.cuda}: {', '.join(names)}")
    else:
        yield Check("cuda", "note", f"none: {'a CPU build of torch' if torch.version.cuda is None else 'no device'}")


def _backend() -> Iterator[Check]:
    from torchdiff import ops

    found = ops.backend()
    build = ", ".join(f"{key} {value}" for key, value in found.build.items())
    if found.name == "extension":
        yield Check("backend", "ok", f"{found.name}: {', '.join(found.devices)} ({build})")
    elif importlib.util.find_spec("torchdiff._C") is not None and os.environ.get("TORCHDIFF_NO_EXT", "0") in ("", "0"):
        fix = "reinstall torchdiff-sde, so that it is built for this torch"
        yield Check("backend", "wrong", f"{found.name}: {found.reason}", fix)
    else:
        yield Check("backend", "note", f"{found.name}, same results, slower: {found.reason}")


def _noise() -> Iterator[Check]:
    """What runs here against the reference in plain torch."""
    import torch

    from torchdiff import noise, ops
    from torchdiff.ops import reference

    seeds, draws = torch.tensor([20260101]), torch.tensor([noise.draw_number(noise.STEP, 3)])
    weights = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    x = torch.linspace(-2.0, 2.0, 4097).reshape(1, -1)
    same = torch.equal(ops.affine([x], weights, seeds, 7, draws)[0], reference.affine([x], weights, seeds, 7, draws)[0])
    status, word = ("ok", "equal to") if same else ("wrong", "DIFFERENT from")
    fix = "" if same else "TORCHDIFF_NO_EXT=1 uses the reference; please report the machine"
    yield Check("noise", status, f"version {noise.NOISE_VERSION}, bit for bit {word} the reference", fix)


def _plugins() -> Iterator[Check]:
    for plugin in installed():
        if plugin.problem:
            fix = f"tell the authors of {plugin.distribution}"
            yield Check("plugin", "wrong", f"{plugin}: {plugin.problem}", fix)
        elif not allowed(plugin.distribution):
            yield Check("plugin", "note", f"{plugin}: turned off by TORCHDIFF_PLUGINS")
        else:
            yield Check("plugin", "ok", f"{plugin}, not loaded: {plugin.group}")
