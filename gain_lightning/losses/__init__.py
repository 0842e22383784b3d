"""The losses of GAIN and GAIN_ext: Eq. 5 and 7 of Li et al., CVPR 2018, rivals of Eq. 7, and classification losses.

Pure functions on tensors. Axis letters: N images, P (image, class) pairs, C classes, H W image, h w map.
Each loss is a mean over all images of its batch. So a batch of N images equals N batches of one, on one device
or several, and whatever number of batches an optimizer step adds up.
"""

from gain_lightning.losses.agreement import map_agreement_loss
from gain_lightning.losses.classification import (
    TASKS,
    balanced_class_weights,
    classification_loss,
    classification_losses,
)
from gain_lightning.losses.mining import area_loss, attention_mining_loss, kept_classes_loss, sufficiency_loss
from gain_lightning.losses.reduction import mean_per_image
from gain_lightning.losses.supervision import SUPERVISION_LOSSES, absent_maps_loss, attention_supervision_loss

__all__ = [
    "SUPERVISION_LOSSES",
    "TASKS",
    "absent_maps_loss",
    "area_loss",
    "attention_mining_loss",
    "attention_supervision_loss",
    "balanced_class_weights",
    "classification_loss",
    "classification_losses",
    "kept_classes_loss",
    "map_agreement_loss",
    "mean_per_image",
    "sufficiency_loss",
]
