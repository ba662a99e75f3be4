"""The folder of a bench: cells.jsonl, rewritten whole at each cell, and the samples of each cell beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from torchdiff import formats, storage
from torchdiff.bench.cells import Record, line, parse
from torchdiff.bench.lock import only
from torchdiff.bench.unbroken import unbroken
from torchdiff.errors import OptionError, StorageError, shown

NAME = "cells.jsonl"
LISTS = ("solvers", "grids", "asked", "seeds")  # of the config: what may grow without touching a finished cell
VERSIONS = ("torchdiff", "noise", "torch")  # those that another result may come from


class Store:
    """Finished records and samples, on disk in `folder`, or in memory only where that is None.

    A file is written beside its place, flushed and moved over it (torchdiff.storage): a reader, and a run that goes on
    after a kill, finds a cell whole or not at all. Rewriting 1000 cells takes 6 ms.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.header, self.records = folder, None, {}
        self.kept: dict[str, Tensor] = {}

    @contextmanager
    def opened(self, header: Record, keys: Iterable[str], force: bool) -> Iterator[None]:
        """Inside, this process alone works in the folder, and what it finds there belongs to the header's bench.

        keys: of the cells that are wanted; others are not kept. Raises StorageError for a folder that another process
        works in or that cannot be written, OptionError naming the fields in which the bench that is there differs.
        """
        if self.folder is None:
            self.header = header
            yield
            return
        storage.reserve(self.folder / NAME, (".jsonl",))
        with only(self.folder):
            self._sweep()
            self._adopt(header, set(keys), force)
            yield

    def _adopt(self, header: Record, keys: set[str], force: bool) -> None:
        assert self.folder is not None
        path = self.folder / NAME
        found = read(path) if path.exists() else []
        self.header = header
        if found:
            other = differences(found[0], header)
            if other and not force:
                names = "; ".join(f"{name}: {shown(old)} there, {shown(new)} now" for name, old, new in other)
                raise OptionError(
                    f"{shown(str(self.folder))} holds another bench ({names}). Name another folder, or go on with "
                    f"--force: it keeps the finished cells that fit, and sets the old file aside"
                )
            if other:
                aside = next(p for i in range(1, 10**6) if not (p := path.with_name(f"cells.{i}.jsonl")).exists())
                storage.write(aside, lambda file: put(file, "".join(map(line, found))))
            else:
                self.header = found[0]  # with the machine and the time of its beginning
            if all(name.partition(" ")[2] in LISTS for name, _, _ in other):
                rest = [r for r in found[1:] if r["kind"] != "cell" or r["key"] in keys]
                self.records = {r["key"]: r for r in rest if r["kind"] != "cell" or self._sample(r["key"]).exists()}
        self.write()

    def add(self, record: Record, samples: Tensor | None = None) -> None:
        """Make a record last, its samples before it. A signal waits for it: what is computed is kept."""
        with unbroken():
            self._add(record, samples)

    def _add(self, record: Record, samples: Tensor | None) -> None:
        if samples is not None:
            if self.folder is None:
                self.kept[record["key"]] = samples
            else:
                path, facts = self._sample(record["key"]), {"key": record["key"]}
                try:
                    path.parent.mkdir(exist_ok=True)
                except OSError as error:
                    raise StorageError(f"cannot write to {shown(str(path.parent))}: {error.strerror}") from error
                storage.write(path, lambda file: formats.write_safetensors(file, {"x": samples}, facts))
        self.records[record["key"]] = record
        self.write()

    def drop(self, keep: set[str]) -> None:
        """Forget comparisons that are not among these keys."""
        stale = [key for key, r in self.records.items() if r["kind"] != "cell" and key not in keep]
        for key in stale:
            del self.records[key]

    def write(self, order: Iterable[str] = ()) -> None:
        """The file, with these records first and in this order."""
        self.records = {key: self.records[key] for key in order if key in self.records} | self.records
        if self.folder is not None:
            text = "".join(map(line, (self.header or {}, *self.records.values())))
            storage.write(self.folder / NAME, lambda file: put(file, text))

    def samples(self, key: str) -> Tensor:
        """The samples of a finished cell. Raises StorageError where their file is gone or torn."""
        if self.folder is None:
            return self.kept[key]
        from safetensors.torch import load_file

        try:
            return load_file(self._sample(key))["x"]
        except Exception as error:
            raise StorageError(
                f"the samples of {shown(key)} cannot be read: {error}; run with --force in another folder"
            ) from error

    def _sample(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / "samples" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"

    def _sweep(self) -> None:
        """Remove what killed writers left beside the files; nobody else works here."""
        assert self.folder is not None
        for place in (self.folder, self.folder / "samples"):
            for draft in place.glob(".*.tmp"):
                draft.unlink(missing_ok=True)


def put(file: IO[bytes], content: str | bytes) -> None:
    """What storage.write wants: a body that returns nothing."""
    file.write(content.encode() if isinstance(content, str) else content)


def read(path: Path) -> list[Record]:
    """The records of a file, checked. Raises StorageError or OptionError."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise OptionError(f"{shown(str(path))} is no file of a bench: {error}") from error
    except OSError as error:
        raise StorageError(f"cannot read {shown(str(path))}: {error.strerror}") from error


def differences(old: Record, new: Record) -> list[tuple[str, Any, Any]]:
    """(field, there, now) for what must be equal in two headers of one bench."""
    fields = [("config", name) for name in {**old["config"], **new["config"]}]
    fields += [("versions", name) for name in VERSIONS]
    pairs = [(f"{part} {name}", old[part].get(name), new[part].get(name)) for part, name in fields]
    return [(name, before, now) for name, before, now in pairs if before != now]


def picked(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """The samples that are shown, as float32: images at these places, of other shapes all."""
    return (x[[i for i in places if i < len(x)]] if x.dim() > 2 else x).to(torch.float32)
