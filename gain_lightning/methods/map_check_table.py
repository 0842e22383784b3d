"""The table that ``gain check-maps`` prints."""

import textwrap
from typing import Any

from gain_lightning.metrics.attributions import ATTRIBUTIONS
from gain_lightning.metrics.faithfulness import FILLS

MAP_TITLES = {"attention": "attention", "center": "centre", "random": "random order", "mask": "mask"}


def text_table(run: str, result: dict[str, Any]) -> str:
    """Return the results of ``gain check-maps`` as text, at most 80 columns wide after the run's name."""
    zero = f", {result['num_zero']} of them zero everywhere" if result["num_zero"] else ""
    lines = [f"{run}: {result['num_pairs']} maps of {result['num_images']} images{zero}"]
    for score, good in (("deletion", "low"), ("insertion", "high")):
        lines.append(f"  {score}, {good}: good")
        lines.append(f"  {'pixels by':12}" + "".join(f"{title:>16}" for title in MAP_TITLES.values()))
        for fill, scores in result["fills"].items():
            cells = [_cell(scores[score][name]) for name in MAP_TITLES]
            lines.append(f"  {FILLS[fill].title:12}" + "".join(f"{cell:>16}" for cell in cells))
    lines.append("  beside each mean its interval; * the attention map's differs (paired, 95 %)")
    lines.append(f"  {result['population']}")
    lines.append("  rank correlation with the maps of random weights, near 0: good")
    for key, name in (("classifier", "classifier"), ("all", "all layers")):
        value = result["rank_correlation"][key]
        lines.append(f"  {name:12}{'none' if value is None else f'{value:.3f}':>16}")
    lines.append("  displacement")
    for key in ("mirror_shift", "mask_shift"):
        if result[key]:
            lines += _wrapped(result[key]["words"])
    if "second_opinion" in result:
        lines += _second_opinion(result["second_opinion"])
    return "\n".join(line.rstrip() for line in lines)


def _second_opinion(opinion: dict[str, Any] | None) -> list[str]:
    """Return the rows of attributions that nothing trained."""
    if opinion is None:
        return ["  second opinion: none, for no image that was kept has a mask"]
    lines = [
        f"  second opinion: {opinion['num_pairs']} maps of {opinion['num_images']} images; their masks cover "
        f"{100 * opinion['area']:.1f} %",
        f"  {'evidence by':22}{'energy in masks':>16}{'IoU':>16}",
    ]
    titles = {"attention": "attention", **{key: kind.title for key, kind in ATTRIBUTIONS.items()}}
    for key, title in titles.items():
        lines.append(
            f"  {title:22}" + "".join(f"{_cell(opinion[score][key]):>16}" for score in ("energy", "iou"))
        )
    passes, seconds = opinion["passes_per_image"], opinion["seconds_per_image"]
    lines.append(f"  cost of an image: {passes:.0f} forward passes, {_short(seconds)} s")
    return lines + _wrapped(("FLAGGED: " if opinion["state"] == "disagree" else "") + opinion["words"])


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, 76, initial_indent="  ", subsequent_indent="    ")


def _cell(entry: dict[str, Any]) -> str:
    """Write a mean and its interval in 15 letters, with a star where the attention map's mean differs."""
    if entry["mean"] is None:
        return "none"
    low, high = entry["interval"]
    less = entry["attention_less"]
    star = "*" if less[0] > 0 or less[1] < 0 else " "
    return f"{_short(entry['mean'])} {_short(low)}-{_short(high)}{star}"


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.3g}"
