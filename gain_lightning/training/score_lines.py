"""The scores of a validation or test, as a terminal shows them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gain_lightning.runs.groups import GroupTable
from gain_lightning.scores import FEWEST_IMAGES, OF_GROUP, score_of


def print_scores(
    results: Sequence[Mapping[str, float]],
    judged: dict[str, Any] | None = None,
    groups: GroupTable | None = None,
    *,
    test_set: str = "test",
) -> None:
    """Print one score a line: shares in percent, others as they are, and "none" where nothing allows a judgement.

    Scores of ``center`` are those of the map that looks at the centre of every image.

    Args:
        results: Results of Lightning's test or validation.
        judged: Numbers of ``pairs`` and of ``images`` that maps are judged on, ``by`` masks unless it says boxes.
        groups: The groups of the set; each is shown with its number of images.
        test_set: Name of the set that was tested; ``val`` if the data have no test set.
    """
    scores = {key: value for result in results for key, value in result.items()}
    num_images = groups.of("num_images") if groups else {}
    width = max([22, *(len(key.partition("/")[2]) for key in scores)])
    for key in sorted(scores, key=lambda key: (key.startswith("center/"), key)):
        split, _, name = key.partition("/")
        if math.isnan(scores[key]):
            shown = f"{'none':>8}"
        else:
            is_share = score_of(key).unit == "share"
            shown = f"{100 * scores[key]:6.1f} %" if is_share else f"{scores[key]:8.3g}"
        said = score_of(key).remark or _size(name, num_images)
        remark = f"  ({said})" if said else ""
        print(f"{test_set if split == 'test' else split:>6} {name:<{width}} {shown}{remark}")
    if judged is not None:
        print(
            f"maps are judged on {judged['pairs']} (image, class) pairs of {judged['images']} images with "
            f"{judged.get('by', 'masks')}"
        )


def _size(key: str, num_images: Mapping[str, float]) -> str:
    """Say how many images a group has; nothing of another score.

    Example:
        >>> _size("group/boat+water", {"boat+water": 3})
        '3 images, fewer than 10: left out of the worst group'
    """
    count = num_images.get(key.removeprefix(OF_GROUP).removesuffix("_mae"))
    if count is None or not key.startswith(OF_GROUP):
        return ""
    few = f", fewer than {FEWEST_IMAGES}: left out of the worst group" if count < FEWEST_IMAGES else ""
    return f"{count:.0f} image{'' if count == 1 else 's'}{few}"
