"""How the images of a set are shared out over processes, and gathered again in their order."""

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def in_turn(shares: Iterable[Iterable[T]]) -> Iterator[T]:
    """What processes made of the images that :func:`share_out` gave them, in the order of the set.

    Args:
        shares: Of each process, one item an image.

    Example:
        >>> list(in_turn(["ad", "be", "c"]))
        ['a', 'b', 'c', 'd', 'e']
    """
    nothing = object()
    for turn in itertools.zip_longest(*shares, fillvalue=nothing):
        yield from (item for item in turn if item is not nothing)
