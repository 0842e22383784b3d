"""From attention to segmentation: seeds, dense CRF, and SEC trained on them (section 4 of the paper)."""

# The paper's threshold: seeds lie where a map exceeds 20 % of its maximum.
THRESHOLD = 0.2
# The share of an image's pixels that are background, those of least gradient, as SEC has it.
BACKGROUND_SHARE = 0.1
