"""The settings of a dense CRF, without torch: worker processes read them too."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernels:
    """Two Gaussian kernels, in pixels and in grey values of 0 to 255, and their Potts weights.

    The defaults are SEC's (Kolesnikov & Lampert, ECCV 2016). Two pixels attract each other by where they are, and by
    where they are and what colour they have.

    Args:
        gaussian_width: Of places alone.
        gaussian_weight: Its weight.
        bilateral_width: Of places, beside colours.
        bilateral_colour: Of colours.
        bilateral_weight: Its weight.
        shrink: What the widths in pixels are divided by: the image is that much smaller than it was; 12 in SEC's
            training, where it is shrunk to 41 x 41.
        iterations: Of mean field.
    """

    gaussian_width: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_width: float = 80.0
    bilateral_colour: float = 13.0
    bilateral_weight: float = 10.0
    shrink: float = 1.0
    iterations: int = 10

    def __post_init__(self) -> None:
        for name in ("gaussian_width", "bilateral_width", "bilateral_colour", "shrink"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")
        if self.iterations < 0:
            raise ValueError(f"iterations is {self.iterations}, expected at least 0")
