"""From attention to segmentation: seeds, dense CRF, and SEC trained on them (section 4 of the paper)."""

# The paper's threshold: seeds lie where a map exceeds 20 % of its maximum.
THRESHOLD = 0.2
# The share of an image's pixels that are background, those of least gradient, as SEC has it.
BACKGROUND_SHARE = 0.1
# By kind of background, the value that stands where none is given.
BACKGROUND_VALUES = {"attention": 0.05, "gradient": BACKGROUND_SHARE, "saliency": 0.06}
# The least probability of a cue of a second round. On the VOC subset SEC's cues were as precise as the published ones
# (77.1 %) where the background counted 2 to 2.5 times, which is a probability of 0.67 to 0.71 among two.
CONFIDENCE = 0.7
