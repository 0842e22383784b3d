"""Which images are worth marking: the work of ``gain next``. The policies stand here in words, without torch."""

from typing import NamedTuple


class Policy(NamedTuple):
    """A way to choose among the images that have no marks.

    Attributes:
        help: What it takes first, in words.
        why: Why an image was chosen, with ``{value}``, ``{count}`` images that were left, and ``{of}`` which stratum.
        is_stratified: Whether it takes equally many of each class and group.
    """

    help: str
    why: str
    is_stratified: bool = True


POLICIES = {
    "random": Policy("any", "drawn among {count} images{of}", is_stratified=False),
    "by_class": Policy("any, equally many of each class", "drawn among {count} images{of}"),
    "uncertainty": Policy(
        "where the prediction is least certain",
        "its prediction has {value:.2f} bits of entropy, most of {count} images{of}",
    ),
    "disagreement": Policy(
        "where the map changes when the image is mirrored, scaled or erased",
        "its map changes by {value:.2f} in other views, most of {count} images{of}",
    ),
    "spread": Policy(
        "what lies farthest from all that is taken (k-center)",
        "its features lie {value:.2f} from all that is taken, farthest of {count} images{of}",
    ),
    "unlike_marked": Policy(
        "where the map shows what no mark of its class shows",
        "its map shows what lies {value:.2f} from all marks of its class, farthest of {count} images{of}",
    ),
}
DEFAULT = "by_class"
# What a choice takes equally many of.
STRATA = ("class", "group")
# The share of a map's maximum above which a pixel is marked in advance, as a seed is.
MARK_THRESHOLD = 0.2
