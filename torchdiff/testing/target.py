"""What `torchdiff check` is given: a registered name, or package.module:attribute, with options."""

from __future__ import annotations

import importlib
import re
from typing import Any

from torchdiff.errors import OptionError, PluginError, TorchdiffError, shown
from torchdiff.registry import SDES, SOLVERS, Registry
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import Solver
from torchdiff.spec import parse_options

KINDS: dict[str, Registry[Any]] = {"sde": SDES, "solver": SOLVERS}
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_IMPORT = re.compile(rf"({_DOTTED}):({_DOTTED})(:.*)?", re.DOTALL)


def kind_of(text: str, kind: str | None) -> str | None:
    """ "sde" or "solver" for a text that a registry understands; None for one to import. Loads no plugin.

    Raises OptionError for a name of both kinds, for a name of none the error of an unknown name.
    """
    name = text.partition(":")[0].strip()
    found = [k for k, registry in KINDS.items() if kind in (None, k) and (name in registry or _path(registry, text))]
    if len(found) == 2:
        raise OptionError(f"{shown(name)} is an sde and a solver; say which: --kind sde, or --kind solver")
    if found:
        return found[0]
    if _IMPORT.fullmatch(text.strip()):
        return None
    registry = KINDS[kind or "solver"]
    try:
        registry.find(name)
    except TorchdiffError as error:
        more = f"; sdes: {', '.join(SDES)}; or package.module:attribute" if kind is None else ""
        raise type(error)(f"{error}{more}") from None
    raise OptionError(f"expected a name or package.module:attribute, got {shown(text)}")


def _path(registry: Registry[Any], text: str) -> bool:
    """Whether it names a plugin by its distribution: distribution/name, or distribution:name."""
    first, colon, rest = text.partition(":")
    names = [first] if "/" in first else [f"{first}/{rest.partition(':')[0]}"] if colon else []
    for name in names:
        try:
            registry.find("/".join(part.strip() for part in name.split("/", 1)))
        except TorchdiffError:
            continue
        return True
    return False


def load(text: str, kind: str | None) -> Any:
    """The SDE or solver that the text names, built. Raises OptionError or PluginError saying what came."""
    found = kind_of(text, kind)
    if found is not None:
        return KINDS[found].get(text)
    match = _IMPORT.fullmatch(text.strip())
    assert match is not None
    module, attribute, options = match.groups()
    try:
        thing: Any = importlib.import_module(module)
        for part in attribute.split("."):
            thing = getattr(thing, part)
    except (Exception, SystemExit) as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"{module}:{attribute} does not load: {cause}") from error
    bases = {"sde": LinearSDE, "solver": Solver}
    given = parse_options(text, text.index(options) + 1) if options else {}
    for name, base in bases.items():
        is_one = issubclass(thing, base) if isinstance(thing, type) else isinstance(thing, base)
        if is_one and kind in (None, name):
            return KINDS[name].get(thing, **given)
    wanted = " or a ".join(base.__name__ for name, base in bases.items() if kind in (None, name))
    raise OptionError(f"{module}:{attribute} is {shown(thing)}, expected a {wanted}: a class or an object")
