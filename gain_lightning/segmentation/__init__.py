"""From attention to segmentation: seeds, dense CRF, and SEC trained on them (section 4 of the paper)."""
