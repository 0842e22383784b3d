"""The error of a run that cannot be read."""


class RunError(ValueError):
    """A run that cannot be read, or runs that cannot be compared; the message says which and why."""
