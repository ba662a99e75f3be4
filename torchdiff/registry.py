"""Registries: from a name with options to an object and back. How names and options are written: see torchdiff.spec.

    SOLVERS.get("ddim:eta=0.5")      SOLVERS.get("ddim", eta=0.5)      SOLVERS.spec(solver) -> "ddim:eta=0.5"

Built-in classes register themselves when their module is imported, which the first look-up does. Plugins are entry
points of the group: known by their metadata, loaded by the `get` of their name and by nothing else.
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from torchdiff.errors import DuplicateNameError, OptionError, PluginError, TorchdiffError, UnknownNameError, shown
from torchdiff.options import Option, build, options_of, write
from torchdiff.plugins import Plugin, allowed, installed, normal
from torchdiff.spec import NAME, parse_options

if TYPE_CHECKING:
    from torchdiff.grids import Grid
    from torchdiff.metrics.base import Metric
    from torchdiff.sde.base import LinearSDE
    from torchdiff.solvers.base import Solver
    from torchdiff.targets.base import Target

Class = TypeVar("Class", bound=type)
Thing = TypeVar("Thing")


class Entry(NamedTuple):
    """What a registry knows of a name without loading anything. source: "built-in", a module, or "plugin of ..."."""

    name: str
    summary: str
    options: tuple[Option, ...]
    source: str


class Registry(Generic[Thing]):
    """Names of one kind of thing. Read-only but for `register`; names can be iterated, counted and asked for with `in`.

    kind:     what the things are called in messages.
    group:    the entry-point group of plugins; None for no plugins.
    builtins: modules whose import registers the built-in classes.
    base:     "module:Class" that every object must be an instance of; None for no such check.
    reserved: names that mean no class, and what to say where they are taken for one.
    All methods may be called from any thread. No lock is held over an import: imports have their own.
    """

    everyone: ClassVar[list[Registry[Any]]] = []

    def __init__(
        self,
        kind: str,
        group: str | None = None,
        builtins: tuple[str, ...] = (),
        base: str | None = None,
        reserved: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.group, self.builtins, self.base = kind, group, builtins, base
        self.reserved = dict(reserved or {})
        self._classes: dict[str, type] = {}
        self._names: dict[type, str] = {}
        self._plugins: dict[str, type] = {}  # by path: those that were loaded
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        Registry.everyone.append(self)

    # --- names ---

    def register(self, name: str) -> Callable[[Class], Class]:
        """Decorator for a (frozen data-)class; returns it unchanged.

        Raises OptionError for a name that is no lower-case identifier, DuplicateNameError for a name or class that is
        registered already. A class of a notebook or script (__main__) may be defined again.
        """
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise OptionError(f"the name of a {self.kind} is lower-case letters, digits and _, got {shown(name)}")
        if name in self.reserved:
            raise DuplicateNameError(f"{self.kind} {name!r} {self.reserved[name]}; take another name")

        def add(cls: Class) -> Class:
            if not isinstance(cls, type):
                raise OptionError(f"{self.kind} {name!r}: only classes are registered, got {shown(cls)}")
            if not _ours(cls):
                self._import()
            with self._lock:
                other = self._classes.get(name)
                if other is not None and not (cls.__module__ == "__main__" and _place(cls) == _place(other)):
                    raise DuplicateNameError(
                        f"{self.kind} {name!r} is {_place(other)} already; {_place(cls)} needs another"
                    )
                if cls in self._names:
                    raise DuplicateNameError(f"{_place(cls)} is {self.kind} {self._names[cls]!r} already, got {name!r}")
                self._classes[name], self._names[cls] = cls, name
            return cls

        return add

    def names(self, pattern: str = "*") -> list[str]:
        """All names that fit the pattern (as file names do), sorted. Plugins of one name, or that of a built-in, have
        their distribution in front: "distribution/name"."""
        self._import()
        found = [p.name if self._unrivalled(p) else p.path for p in self._allowed()]
        return sorted(name for name in {*self._classes, *found} if fnmatchcase(name, pattern))

    def describe(self, name: str) -> Entry:
        """What is known of a name; of a plugin that no `get` has loaded, only who provides it."""
        cls, plugin = self._look_up(name)
        source = f"plugin of {plugin.distribution} {plugin.version}" if plugin else ""
        if cls is None:
            return Entry(name, "not loaded yet", (), source)
        summary = ((cls.__doc__ or "").strip().splitlines() or [""])[0]
        return Entry(name, summary, options_of(cls, _text), source or ("built-in" if _ours(cls) else cls.__module__))

    def find(self, name: str) -> type | None:
        """The class of a name; None for a plugin that no `get` has loaded. Raises UnknownNameError or PluginError."""
        return self._look_up(name)[0]

    def name_of(self, cls: type) -> str | None:
        """The name that means this class, loaded by us or imported otherwise; None for a class that has none."""
        self._import()
        if cls in self._names:
            return self._names[cls]
        for plugin in self._allowed():
            if self._plugins.get(plugin.path) is cls or plugin.value.replace(" ", "") == _place(cls, ":"):
                return plugin.name if self._unrivalled(plugin) else plugin.path
        return None

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self.names())})"

    # --- objects ---

    def get(self, spec: str | type[Thing] | Thing, **options: Any) -> Thing:
        """The object that a spec names; an object is returned as it is, a class is called.

        options: like those in the spec, with values as Python objects or as text.
        Raises UnknownNameError, OptionError or PluginError, each saying what came and what would do.
        """
        if not isinstance(spec, (str, type)):
            self._check_base(type(spec), spec)
            if options:
                raise OptionError(f"{shown(spec)} is built already, {', '.join(options)} came too late")
            return spec
        given: dict[str, Any] = {}
        if isinstance(spec, str):
            name, given = self._parse(spec)
            cls = self.load(name)
        else:
            name, cls = self._names.get(spec, spec.__qualname__), spec
            self._check_base(cls, spec)
        twice = [option for option in options if option in given]
        if twice:
            raise OptionError(f"{self.kind} {name!r}: option {twice[0]!r} is given twice, in the text and beside it")
        try:
            return build(f"{self.kind} {name!r}", cls, options_of(cls, _text), {**given, **options})
        except (Exception, SystemExit) as error:
            plugin = self._look_up(name)[1] if isinstance(spec, str) else None
            if plugin is None or isinstance(error, ValueError):  # a value that cannot be used is no broken plugin
                raise
            cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise PluginError(f"{plugin} cannot be built: {cause}; tell the authors") from error

    def load(self, name: str) -> type:
        """The class of a name; the one way in which a plugin's code is run.

        Raises UnknownNameError, or PluginError with the plugin's distribution, version, entry point and the cause.
        """
        cls, plugin = self._look_up(name)
        if cls is not None and name in self._classes and name not in self._warned:
            for rival in self._allowed():
                if rival.name == name and rival.package != _package(cls):
                    self._warned.add(name)
                    warnings.warn(f"{self.kind} {name!r} is {_place(cls)}; {rival} is {rival.path!r}", stacklevel=4)
        if cls is None:
            assert plugin is not None
            try:
                cls = plugin.load()
            except PluginError:
                for registry in Registry.everyone:
                    registry._forget_lost(plugin.package)
                raise
            try:
                self._check_base(cls, cls)
            except OptionError as error:
                raise PluginError(f"{plugin} is of the wrong kind: {error}") from error
            with self._lock:
                self._plugins[plugin.path] = cls
        return cls

    def spec(self, thing: Any) -> str:
        """The spec of an object: its name, and the options that differ from their defaults. get(spec(thing)) == thing.

        Raises UnknownNameError for an object of a class that is not registered.
        """
        name = self.name_of(type(thing))
        if name is None:
            raise UnknownNameError(
                f"{_place(type(thing))} is no registered {self.kind}; @register_{self.kind}('...') makes it one"
            )
        texts = []
        for option in options_of(type(thing), _text):
            value = getattr(thing, option.name)
            if value == option.default:
                continue
            text = _text(value)
            if text is None:
                raise OptionError(f"{self.kind} {name!r}: {option.name} = {shown(value)} cannot be written as text")
            texts.append(f"{option.name}={text}")
        return name + (":" + ",".join(texts) if texts else "")

    def label(self, thing: Any) -> str:
        """For people: the spec, or repr(thing) where it has none."""
        try:
            return self.spec(thing)
        except TorchdiffError:
            return repr(thing)

    # --- inside ---

    def _import(self) -> None:
        for module in self.builtins:
            importlib.import_module(module)  # after the first time a look-up; waits while another thread imports it

    def _forget_lost(self, package: str) -> None:
        """Drop what a module registered whose import failed then: it is not there, and may be tried again."""
        with self._lock:
            for cls, name in list(self._names.items()):
                if _package(cls) == package and cls.__module__ not in sys.modules:
                    del self._names[cls], self._classes[name]

    def _check_base(self, cls: type, thing: Any) -> None:
        if self.base is None:
            return
        module, _, name = self.base.partition(":")
        if not issubclass(cls, getattr(importlib.import_module(module), name)):
            raise OptionError(
                f"a {self.kind} is a name, a {name} or its class, got {shown(thing)}; known: {self._known()}"
            )

    def _parse(self, text: str) -> tuple[str, dict[str, str]]:
        """(name, or distribution/name; options)."""
        name, colon, rest = text.partition(":")
        name, start = "/".join(part.strip() for part in name.split("/", 1)), len(name) + 1
        second, more, _ = rest.partition(":")
        if NAME.fullmatch(second.strip()) and "/" not in name and self._is_distribution(name):
            name, colon, start = f"{name}/{second.strip()}", more, start + len(second) + 1
        return name, parse_options(text, start) if colon else {}

    def _is_distribution(self, name: str) -> bool:
        self._import()
        return name not in self._classes and normal(name) in {normal(p.distribution) for p in self._all()}

    def _all(self) -> list[Plugin]:
        return [] if self.group is None else [p for p in installed(self.group) if p.problem is None]

    def _allowed(self) -> list[Plugin]:
        return [p for p in self._all() if allowed(p.distribution)]

    def _unrivalled(self, plugin: Plugin) -> bool:
        """Whether its bare name means this plugin."""
        own = self._classes.get(plugin.name)
        rivals = [p for p in self._allowed() if p.name == plugin.name]
        meant = plugin.name not in self.reserved
        return meant and len(rivals) == 1 and (own is None or _package(own) == plugin.package)

    def _look_up(self, name: str) -> tuple[type | None, Plugin | None]:
        """(class if it is here, plugin if it is one): never both None, and nothing is loaded."""
        self._import()
        if "/" in name:
            dist, _, bare = name.partition("/")
            plugins = [p for p in self._all() if p.name == bare and normal(p.distribution) == normal(dist)]
        else:
            plugins = [p for p in self._all() if p.name == name and name not in self.reserved]
        ready = [p for p in plugins if allowed(p.distribution)]
        own = self._classes.get(name)
        if own is not None:
            return own, next((p for p in ready if p.package == _package(own)), None)
        if len(ready) > 1:
            ways = " or ".join(repr(p.path) for p in ready)
            raise PluginError(f"{self.kind} {name!r} comes from {len(ready)} plugins: say {ways}")
        if ready:
            return self._plugins.get(ready[0].path), ready[0]
        if name in self.reserved:
            raise UnknownNameError(f"{self.kind} {name!r} {self.reserved[name]}; known: {self._known()}")
        off = f"; {plugins[0]} has it, but TORCHDIFF_PLUGINS does not let it in" if plugins else ""
        for plugin in installed(self.group) if self.group is not None else ():
            if plugin.problem is not None and name in (plugin.name, plugin.path):
                off = f"; {plugin} has it, but cannot be used: {plugin.problem}"
        near = get_close_matches(name.lower(), self.names(), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise UnknownNameError(f"unknown {self.kind} {shown(name)}{off}{hint} known: {self._known()}")

    def _known(self) -> str:
        return ", ".join(self.names()) or "none"


def _text(value: Any) -> str | None:
    """The value as it stands in a spec, an object of any registry in parentheses; None for what has no text."""
    text = write(value)
    if text is not None:
        return text
    for registry in Registry.everyone:
        if registry.name_of(type(value)) is not None:
            return f"({registry.spec(value)})"
    return None


def _place(cls: type, join: str = ".") -> str:
    return f"{cls.__module__}{join}{cls.__qualname__}"


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _ours(cls: type) -> bool:
    return _package(cls) == "torchdiff"


SDES: Registry[LinearSDE] = Registry("sde", "torchdiff.sdes", ("torchdiff.sde",), "torchdiff.sde.base:LinearSDE")
SOLVERS: Registry[Solver] = Registry(
    "solver",
    "torchdiff.solvers",
    ("torchdiff.solvers",),
    "torchdiff.solvers.base:Solver",
    {"auto": "is what `plan` and `sample` choose for a process and a number of steps, no solver by itself"},
)
GRIDS: Registry[Grid] = Registry("grid", "torchdiff.grids", ("torchdiff.grids",), "torchdiff.grids:Grid")
TARGETS: Registry[Target] = Registry(
    "target", "torchdiff.targets", ("torchdiff.targets",), "torchdiff.targets.base:Target"
)
METRICS: Registry[Metric] = Registry(
    "metric", "torchdiff.metrics", ("torchdiff.metrics",), "torchdiff.metrics.base:Metric"
)
