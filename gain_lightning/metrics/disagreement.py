"""Whether a map and an attribution that nothing trained disagree by more than an honest network's would.

Training an attribution towards marks can move that attribution alone, and not what the network relies on (Viviano et
al., *Saliency is a Possible Red Herring*, arXiv 1910.00199; Ferreira et al., *Explanation Regularisation through the
Lens of Attributions*, arXiv 2407.16693, who therefore judge by another attribution than the trained one). How much
other may it be in an honest network?

- A map that is even has the energy a, the share of the picture that masks cover. A map of energy E claims the lead
  E - a.
- Let the other attribution show the same evidence, and noise that is even, with the share b of its sum. Its energy is
  (1 - b) E + b a, so the two disagree by b (E - a).
- As long as it shows more evidence than noise, b is at most 1/2, and they disagree by at most half of the lead. Beyond,
  most of what the map claims is not there.

Axis letters: P (image, class) pairs, R resamples.
"""

from typing import Any

from torch import Tensor

from gain_lightning.metrics.resampling import mean_interval

# With fewer images the interval of a bootstrap is too narrow to accuse anyone.
FEWEST_IMAGES = 8


def disagreement(
    attention: Tensor, other: Tensor, area: Tensor, weight: Tensor, num_images: int
) -> dict[str, Any]:
    """Compare the energy that two maps of the same pairs have inside masks.

    A network is flagged where the 95 % interval of the disagreement less half of the lead lies above 0, on images drawn
    anew, and only where the lead itself is clear: a map that lies nowhere in particular claims nothing.

    Args:
        attention: Energy of the map that may have been trained, of every pair, ``(P,)``.
        other: Energy of an attribution that was not, ``(P,)``.
        area: Share of the pixels that the pair's mask covers, ``(P,)``.
        weight: Times that each pair counts, in R resamples, ``(R, P)``.
        num_images: Number of images that the pairs are of.

    Returns:
        ``state``: ``disagree``, which flags the network, ``agree``, ``open`` where these images cannot tell, ``no
        claim`` or ``few images``; ``disagreement`` with its ``interval``, what was ``expected`` at most, and ``words``.

    Example:
        >>> import torch
        >>> from gain_lightning.attention import label_pairs
        >>> from gain_lightning.metrics.resampling import draw_images
        >>> attention = torch.linspace(0.8, 0.9, 16)
        >>> weight = draw_images(label_pairs(torch.ones(16, 1)), 0)
        >>> for other in (attention - 0.1, attention - 0.6):
        ...     found = disagreement(attention, other, torch.full((16,), 0.2), weight, 16)
        ...     print(found["state"], found["disagreement"], found["expected"])
        agree 0.1 0.325
        disagree 0.6 0.325
    """
    apart, claim = attention - other, (attention - area) / 2
    found, expected = round(float(apart.mean()), 6), round(float(claim.mean()), 6)
    ends, claimed, excess = (mean_interval(values, weight) for values in (apart, claim, apart - claim))
    if num_images < FEWEST_IMAGES or not (ends and claimed and excess):
        state = "few images"
    elif claimed[0] <= 0:
        state = "no claim"
    elif excess[0] > 0:
        state = "disagree"
    else:
        state = "agree" if found <= expected else "open"
    between = f" (95 %: {100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else ""
    measured = (
        f"map and occlusion disagree by {100 * found:.1f} points of energy{between}, expected at most "
        f"{100 * expected:.1f}, half of the map's lead over an even map: "
    )
    words = {
        "few images": f"{num_images} images with masks are too few for a verdict, expected at least {FEWEST_IMAGES}",
        "no claim": f"the map's energy, {100 * float(attention.mean()):.1f} %, is not clearly above an even map's, "
        f"{100 * float(area.mean()):.1f} %: it claims nothing that occlusion could deny",
        "disagree": measured + "the map does not show what the network decides by",
        "agree": measured + "occlusion bears the map out",
        "open": measured + "these images are too few, or differ too much, to tell",
    }[state]
    return {"state": state, "disagreement": found, "interval": ends, "expected": expected, "words": words}
