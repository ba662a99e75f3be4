"""Plugins: the entry points of other distributions. Found in their metadata; only `load` runs their code.

    [project.entry-points."torchdiff.solvers"]
    my_solver = "my_package.solvers:MySolver"

TORCHDIFF_PLUGINS=0 turns plugins off; TORCHDIFF_PLUGINS=one-distribution,another allows only those.
A class may say which version of this interface it is made for: `torchdiff_api = 1`.
A plugin that never ends its import holds up who asked for it, until Ctrl-C, and nobody else: no lock is held meanwhile.
`torchdiff check` and `torchdiff plugins list --load` load it in a process of its own, with a timeout.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from torchdiff.errors import PluginError, shown
from torchdiff.spec import NAME

API = 1  # of the classes that plugins derive from; a change that breaks them raises it
GROUPS = (
    *("torchdiff.sdes", "torchdiff.solvers", "torchdiff.grids", "torchdiff.targets", "torchdiff.metrics"),
    "torchdiff.conventions",
)
_VALUE = re.compile(r"\s*[\w.]+\s*:\s*[\w.]+\s*(\[.*\])?\s*")
_found: dict[tuple[str, ...], tuple[Plugin, ...]] = {}


class Plugin(NamedTuple):
    """One entry point. problem: why it can never load, as far as its metadata tells; None if that is not known."""

    group: str
    name: str
    value: str  # "module:attribute"
    distribution: str
    version: str
    problem: str | None = None

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.value}) of {self.distribution} {self.version}"

    @property
    def path(self) -> str:
        """distribution/name, which no other plugin of the group has."""
        return f"{self.distribution}/{self.name}"

    @property
    def package(self) -> str:
        """The top-level package that it loads from."""
        return re.split(r"[.:]", self.value)[0].strip()

    def load(self) -> Any:
        """The object that it names. Raises PluginError naming distribution, version, entry point and cause."""
        from importlib.metadata import EntryPoint

        try:
            loaded = EntryPoint(self.name, self.value, self.group).load()
        except KeyboardInterrupt:  # the user's
            raise
        except BaseException as error:  # an exit, and what else a plugin thinks of
            cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise PluginError(f"{self} does not load: {cause}; update or uninstall {self.distribution}") from error
        if not isinstance(loaded, type):
            raise PluginError(f"{self} should be a class, got {shown(loaded)}; tell the authors of {self.distribution}")
        api = getattr(loaded, "torchdiff_api", API)
        if api != API:
            older = isinstance(api, int) and api < API
            age, update = ("too old", self.distribution) if older else ("too new", "torchdiff-sde")
            raise PluginError(
                f"{self} is {age}: made for torchdiff_api = {shown(api)}, this torchdiff has {API}; update {update}"
            )
        return loaded


def normal(distribution: str) -> str:
    """The form in which names of distributions are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).strip().lower()


def allowed(distribution: str) -> bool:
    """Whether TORCHDIFF_PLUGINS lets this distribution in."""
    setting = os.environ.get("TORCHDIFF_PLUGINS", "1").strip()
    names = {normal(name) for name in setting.split(",")} - {"0", ""}
    return setting.lower() in ("1", "true", "yes", "on") or normal(distribution) in names


def installed(group: str | None = None) -> list[Plugin]:
    """All plugins of a group, or of all groups, allowed or not. Reads metadata only, once for each sys.path."""
    path = tuple(sys.path)
    if path not in _found:
        _found.clear()
        _found[path] = tuple(_scan())
    return [plugin for plugin in _found[path] if group in (None, plugin.group)]


def _scan() -> Iterator[Plugin]:
    from importlib.metadata import distributions

    seen = set()
    for dist in distributions():
        try:
            text, error = dist.read_text("entry_points.txt") or "", None
        except Exception as caught:  # third-party files can be anything
            text, error = "torchdiff.", caught
        if "torchdiff." not in text:
            continue
        try:
            name, version = dist.metadata["Name"] or "?", dist.version
        except Exception:  # no METADATA, or a torn one
            name, version = "?", "?"
        if normal(name) in seen:  # the first on sys.path is the one that is imported
            continue
        seen.add(normal(name))
        try:
            points = [point for point in dist.entry_points if point.group in GROUPS]
        except Exception as caught:
            points, error = [], error or caught
        if error is not None:
            yield Plugin("", "?", "?", name, version, f"entry_points.txt cannot be read: {error}")
        for point in points:
            twice = sum((p.group, p.name) == (point.group, point.name) for p in points) > 1
            yield Plugin(point.group, point.name, point.value, name, version, _problem(point.name, point.value, twice))


def _problem(name: str, value: str, twice: bool) -> str | None:
    if not NAME.fullmatch(name):
        return "a name is lower-case letters, digits and _"
    if not _VALUE.fullmatch(value):
        return f"expected module:Class, got {shown(value)}"
    return "its distribution has this name twice" if twice else None
