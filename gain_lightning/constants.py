"""Numbers that several rooms agree on."""

VERSION = "0.1.0"

# Value of mask pixels that are unlabelled, or too close to a border.
VOID = 255

# Values of a mask of one class beside VOID: a pixel is not of the class, or it is.
NO, YES = 0, 1

# ImageNet's mean colour: after a network's normalisation it is nearly 0 in every channel.
NEUTRAL = (124, 116, 104)

# How a picture meets a network of square images: its aspect is given up, kept beside plain borders, or kept by a cut.
RESIZES = ("squash", "letterbox", "crop")

# Exit status of a training that was told to stop and can go on; it is EX_TEMPFAIL of <sysexits.h>.
REQUEUE = 75

# Exit status of a verb that Ctrl-C stopped.
INTERRUPTED = 130
