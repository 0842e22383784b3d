"""Numbers that several rooms agree on."""

VERSION = "0.1.0"

# Mask pixels that say nothing: they are unlabelled, or too close to a border.
VOID = 255

# The values of a mask of one class beside VOID: not the class, the class.
NO, YES = 0, 1

# Exit status of a training that was told to stop and can go on: EX_TEMPFAIL of <sysexits.h>.
REQUEUE = 75
