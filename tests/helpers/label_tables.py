"""Labels of a few images as tables of 0 and 1, ``(N, C)``, which several test files share."""

import torch

# Losses are taken over images with none, one or many labels.
LABELS = {
    "none, one and many": torch.tensor(
        [[0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    ),
    "one each": torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]),
    "nothing": torch.zeros(3, 4, dtype=torch.long),
}
# Nothing is known of the last image, and the third has no label. Class 3 has a label in the last image alone.
LABEL = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
