"""One pass of the network over the streams, from which every term of the loss is made."""

from typing import NamedTuple

from torch import Tensor

from gain_lightning.attention import Pairs
from gain_lightning.datasets.sample import Batch


class Step(NamedTuple):
    """The result of one pass of the network; masked images stand behind those of the weak stream.

    Attributes:
        image: Normalised images of both streams, ``(N, 3, H, W)``.
        features: Features of both streams, ``(N, K, h, w)``.
        logits: Logits of both streams, ``(N, C)``.
        label: Labels of the weak stream, ``(num_weak, C)``.
        weak_pairs: Pairs of the weak stream that get maps, of its first ``num_images`` images; none if no term asks
            for them.
        masked: Batch of the masked stream with its ``pairs``; None if the stream is left out.
        is_joined: Whether the images of the masked stream are among those above.
        inside: 1 where an image shows its picture and 0 in its border, ``(N, 1, H, W)``; None without borders.
        guidance: Share of the weights in force, 0 to 1.
    """

    image: Tensor
    features: Tensor
    logits: Tensor
    label: Tensor
    weak_pairs: Pairs
    masked: Batch | None
    guidance: float
    is_joined: bool = True
    inside: Tensor | None = None

    @property
    def pairs(self) -> Pairs:
        """The pairs of all maps: those of the weak stream, then those of the masked one."""
        # The pairs of the weak stream may be those of its first images alone.
        of_all = self.weak_pairs._replace(num_images=len(self.label))
        return of_all.followed_by(self.masked["pairs"]) if self.masked and self.is_joined else of_all
