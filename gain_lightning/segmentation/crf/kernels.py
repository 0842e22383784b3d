"""The settings of a dense CRF, without torch: worker processes read them too."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernels:
    """Two Gaussian kernels, in pixels and in grey values of 0 to 255, and their Potts weights.

    The defaults are SEC's (Kolesnikov & Lampert, ECCV 2016). Two pixels attract each other by where they are, and by
    where they are and what colour they have.

    Args:
        gaussian_width: Standard deviation of the position kernel, pixels.
        gaussian_weight: Weight of the position kernel.
        bilateral_width: Standard deviation of positions in the kernel of position and colour, pixels.
        bilateral_colour: Standard deviation of colours in that kernel, grey values.
        bilateral_weight: Weight of that kernel.
        shrink: The widths in pixels are divided by this, by which the image was made smaller: 12 in SEC's training,
            where it is shrunk to 41 x 41.
        iterations: Iterations of mean field.
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
