"""From attention to segmentation: seeds, dense CRF, and SEC trained on them (section 4 of the paper)."""

THRESHOLD = 0.2  # of the paper: 20 % of a map's maximum
BACKGROUND_SHARE = 0.1  # of an image's pixels, those of least gradient, as SEC has it
