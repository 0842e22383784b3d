"""Gather the images of a set, which processes took in turns, again in their order."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def in_turn(shares: Iterable[Iterable[T]]) -> Iterator[T]:
    """Yield what processes made of the images that they took in turns, in the order of the set.

    Args:
        shares: The results of each process, one item an image.

    Example:
        >>> list(in_turn(["ad", "be", "c"]))
        ['a', 'b', 'c', 'd', 'e']
    """
    nothing: Any = object()
    for turn in itertools.zip_longest(*shares, fillvalue=nothing):
        yield from (item for item in turn if item is not nothing)
