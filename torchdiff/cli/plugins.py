"""Plugins: what is installed and what is wrong with it, and a package to begin one's own with.

`list` reads metadata and loads nothing; with --load each plugin is loaded, in a process of its own with a timeout. Exit
code 1 where one is wrong. `new NAME` writes a package with an SDE, a solver and their tests.
"""

from __future__ import annotations

import argparse
import json
import keyword
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from torchdiff.aligned import aligned
from torchdiff.cli.template import files
from torchdiff.conventions import CONVENTIONS
from torchdiff.errors import OptionError, StorageError, TorchdiffError, shown
from torchdiff.plugins import API, Plugin, allowed, installed
from torchdiff.registry import GRIDS, METRICS, SDES, SOLVERS, TARGETS, Registry
from torchdiff.spec import NAME

REGISTRIES: dict[str, Registry] = {r.group: r for r in (SDES, SOLVERS, GRIDS, TARGETS, METRICS, CONVENTIONS) if r.group}
LOAD_SECONDS = 60.0


def run(args: argparse.Namespace) -> int:
    """`torchdiff plugins [list]`."""
    load = getattr(args, "load", False)
    rows = [_row(plugin, load) for plugin in installed()]
    wrong = [row for row in rows if row["status"] == "wrong"]
    if args.json:
        print(json.dumps(rows, indent=1))
    elif not rows:
        print("no plugins are installed; `torchdiff plugins new NAME` begins one")
    else:
        cells = [("", "kind", "name", "class", "from")]
        cells += [(r["status"], r["kind"], r["name"], r["class"], r["distribution"]) for r in rows]
        for line, why in zip(aligned(cells), ["", *(r["why"] for r in rows)], strict=True):
            print(f"{line}  ({why})" if why else line)
    return 1 if wrong else 0


def _row(plugin: Plugin, load: bool) -> dict[str, str]:
    registry = REGISTRIES.get(plugin.group)
    status, name, why = _state(plugin, registry, load)
    return {
        "status": status,
        "kind": registry.kind if registry else "?",
        "name": name,
        "class": plugin.value,
        "distribution": f"{plugin.distribution} {plugin.version}",
        "why": why,
    }


def _state(plugin: Plugin, registry: Registry | None, load: bool) -> tuple[str, str, str]:
    """(status, the name that means it, why it is not simply there)."""
    if plugin.problem or registry is None:
        return "wrong", plugin.name, plugin.problem or f"unknown group {plugin.group}"
    if not allowed(plugin.distribution):
        return "off", plugin.name, "TORCHDIFF_PLUGINS does not let it in"
    if load and (cause := _load(plugin)) is not None:
        return "wrong", plugin.name, cause
    if plugin.name in registry and plugin.path not in registry:
        return "ok", plugin.name, "loads" if load else ""
    rivals = [p for p in installed(plugin.group) if p.name == plugin.name and p.path != plugin.path]
    taken = ", ".join(str(p) for p in rivals if allowed(p.distribution)) or "a built-in"
    return ("wrong" if rivals else "ok"), plugin.path, f"the bare name is also that of {taken}"


def _load(plugin: Plugin) -> str | None:
    """Why it does not load; None if it does. In another process: it may hang, exit, or leave things behind."""
    program = (
        "import sys\nfrom torchdiff.cli.plugins import REGISTRIES\n"
        "try:\n    REGISTRIES[sys.argv[1]].load(sys.argv[2])\n"
        "except ValueError as error:\n    print(error, file=sys.stderr)\n    sys.exit(9)"
    )
    command = [sys.executable, "-c", program, plugin.group, plugin.path]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LOAD_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"its import still runs after {LOAD_SECONDS:g} s"
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return last if done.returncode == 9 else f"its import ended the process with exit code {done.returncode}; {last}"


def new(args: argparse.Namespace) -> int:
    """`torchdiff plugins new NAME`. Writes the whole package or nothing.

    Raises OptionError for a name that cannot be one or is taken, StorageError for a folder that is not empty.
    """
    name = args.name
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise OptionError(
            f"a plugin's name is lower-case letters, digits and _, and no word of Python; got {shown(name)}"
        )
    for registry in REGISTRIES.values():
        if name in registry.names():
            source = registry.describe(name).source
            raise OptionError(f"{registry.kind} {name!r} is there already ({source}); choose another name")
    folder = Path(args.folder or f"torchdiff-{name}")
    if folder.is_dir() and any(folder.iterdir()):
        raise StorageError(f"{folder} is not empty; name another folder with --folder")
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file; name another folder with --folder")
    written = files(name, API)
    _write(folder, written)
    if args.json:
        print(json.dumps({"folder": str(folder), "files": list(written)}, indent=1))
    else:
        print(f"{folder}: {', '.join(written)}")
        print(f"next: pip install -e {folder}, then torchdiff check {name} --kind solver, and edit")
    return 0


def _write(folder: Path, written: dict[str, str]) -> None:
    """All files beside the folder first, then one rename into its place."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for path, text in written.items():
                (half / path).parent.mkdir(parents=True, exist_ok=True)
                (half / path).write_text(text, encoding="utf-8", newline="\n")
            half.chmod(0o777 & ~_umask())  # mkdtemp's folder is its owner's alone
            if folder.is_dir():
                folder.rmdir()  # empty, or this fails
            os.rename(half, folder)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
    except TorchdiffError:
        raise
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
