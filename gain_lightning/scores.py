"""Every score once: its key, its name, what it means, its unit and which direction is better."""

METRICS = {  # short names, in the order of every table; accuracies of further test sets follow
    "test/mean_ap": "mAP",
    "test/mae": "MAE",
    "test/seed_miou": "seed mIoU",
    "test/seed_miou_best": "best seed mIoU",
    "test/seed_threshold_best": "best threshold",
    "test/energy": "energy",
    "test/pointing": "pointing",
    "test/zero_maps": "zero maps",
    "test/miou": "mIoU",
    "test/miou_crf": "mIoU CRF",
}


def is_score(metric: str) -> bool:
    """Whether a metric is a fraction of 1 of which more is better: not an error, a threshold, a share or a loss."""
    name = metric.split("/")[-1]
    return not is_error(metric) and name != "zero_maps" and not name.startswith(("loss", "seed_threshold"))


def is_error(metric: str) -> bool:
    """Whether a metric is an error in the labels' unit, of which less is better."""
    name = metric.split("/")[-1]
    return name == "mae" or name.endswith("_mae")
