"""The scores of a validation or test, as a terminal shows them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gain_lightning.scores import score_of


def print_scores(
    results: Sequence[Mapping[str, float]], judged: dict[str, Any] | None = None, *, test_set: str = "test"
) -> None:
    """Print one score a line: shares in percent, others as they are, and "none" where nothing allows a judgement.

    Scores of ``center`` are those of the map that looks at the centre of every image.

    Args:
        results: Results of Lightning's test or validation.
        judged: Numbers of ``pairs`` and of ``images`` that maps are judged on, ``by`` masks unless it says boxes.
        test_set: Name of the set that was tested; ``val`` if the data have no test set.
    """
    scores = {key: value for result in results for key, value in result.items()}
    for key in sorted(scores, key=lambda key: (key.startswith("center/"), key)):
        split, _, name = key.partition("/")
        if math.isnan(scores[key]):
            shown = f"{'none':>8}"
        else:
            is_share = score_of(key).unit == "share"
            shown = f"{100 * scores[key]:6.1f} %" if is_share else f"{scores[key]:8.3g}"
        remark = f"  ({said})" if (said := score_of(key).remark) else ""
        print(f"{test_set if split == 'test' else split:>6} {name:<22} {shown}{remark}")
    if judged is not None:
        print(
            f"maps are judged on {judged['pairs']} (image, class) pairs of {judged['images']} images with "
            f"{judged.get('by', 'masks')}"
        )
