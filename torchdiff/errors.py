"""The errors of torchdiff: each says what came, what was expected and the way out."""


class TorchdiffError(ValueError):
    """Base of all of them; a ValueError, so that callers who know nothing of us still catch it."""


class UnknownNameError(TorchdiffError):
    """A name that no registry entry has, or an object whose class is in no registry."""


class DuplicateNameError(TorchdiffError):
    """A second registration of a name, or a second name for a class."""


class OptionError(TorchdiffError):
    """An argument or option with a value that cannot be used."""


class IncompatibleError(TorchdiffError):
    """Two things that do not go together: a solver and an SDE, a network and a level, ..."""


class NetworkError(TorchdiffError):
    """A network that returns something else than it should."""


class NonFiniteError(TorchdiffError, ArithmeticError):
    """A network that returned nan or infinity."""


class StepSizeError(TorchdiffError, ArithmeticError):
    """A step that error control made too short for its clock."""


class PlanError(TorchdiffError):
    """A plan that cannot be made, read or trusted."""


class PluginError(TorchdiffError):
    """A plugin that does not load or is made for another torchdiff, or two that claim one name."""


class StorageError(TorchdiffError, OSError):
    """A file that cannot be written where it was asked for."""


def shown(value: object) -> str:
    """repr(value) on one line of at most 60 characters, for messages that say what came."""
    text = repr(value) if not isinstance(value, (str, bytes)) else repr(value[:64])
    return text if len(text) <= 60 else text[:57] + "..."
