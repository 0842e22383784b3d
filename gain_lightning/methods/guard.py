"""The guard of a guided training: guidance gives way where it harms the classifier."""

from collections.abc import Mapping
from typing import Any

# The weights are halved each time.
FACTOR = 0.5


class Guard:
    """Halves the weights of guidance when held-out images are classified worse for several validations in a row.

    The score is compared with its best so far, which the warm-up set. A classifier that guidance leaves alone only
    rises in expectation, so a fall of more than the tolerance, again and again, is guidance's.

    Args:
        tolerance: How far the score may fall below its best, as a share of 1.
        patience: Number of validations in a row that are worse before the weights are halved.

    Attributes:
        factor: Factor on all weights of guidance.
        lowered: Number of times that they were halved.

    Example:
        >>> guard = Guard(tolerance=0.02, patience=2)
        >>> [guard.see(score, guided=True) for score in (0.80, 0.79, 0.75, 0.76, 0.79)]
        [False, False, False, True, False]
        >>> guard.factor
        0.5
    """

    def __init__(self, tolerance: float, patience: int = 2) -> None:
        self.tolerance = tolerance
        self.patience = patience
        self.factor = 1.0
        self.lowered = 0
        self.best: float | None = None
        self.worse = 0

    def see(self, score: float, *, guided: bool) -> bool:
        """Take the score of a validation, and return True if the weights were halved.

        Args:
            score: Score of the held-out images; higher is better.
            guided: True if guidance is in force.
        """
        self.best = score if self.best is None else max(score, self.best)
        self.worse = self.worse + 1 if guided and score < self.best - self.tolerance else 0
        if self.worse < self.patience:
            return False
        self.factor *= FACTOR
        self.lowered += 1
        self.worse = 0
        return True

    def state(self) -> dict[str, Any]:
        """Return what a training that goes on needs."""
        names = ("factor", "lowered", "best", "worse")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state of a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)
