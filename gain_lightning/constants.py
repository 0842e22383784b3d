"""Numbers that several rooms agree on."""

VOID = 255  # mask pixels that say nothing: unlabelled, or too close to a border
NO, YES = 0, 1  # of a mask of one class: not the class, the class; 255 is unknown
REQUEUE = 75  # exit status of a training that was told to stop and can go on: EX_TEMPFAIL of <sysexits.h>
