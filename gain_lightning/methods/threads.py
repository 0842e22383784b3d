"""The choice of torch's number of threads: as many as cores are free."""

import torch

from gain_lightning.support.threads import free_cores, is_set_by_user, num_cores


def choose_threads(asked: int | None = None, *, is_deterministic: bool = False) -> str:
    """Set how many threads torch computes with.

    A number that the user has set by ``OMP_NUM_THREADS`` stays.

    Args:
        asked: Number of threads; None chooses one.
        is_deterministic: If true, two trainings are to be equal to the bit. Sums depend on the number of threads,
            so it is then the number of cores, whether they are free or not.

    Returns:
        A sentence that says the number and its reason.

    Raises:
        ValueError: If less than one thread is asked for.
    """
    if asked is not None and asked < 1:
        raise ValueError(f"--threads is {asked}, expected at least 1")
    cores = num_cores()
    if asked is not None:
        count, why = asked, "as asked"
    elif is_set_by_user():
        return f"{_threads(torch.get_num_threads())}, by OMP_NUM_THREADS"
    elif is_deterministic:
        count, why = cores, "one a core, as trainer.deterministic wants the same each time"
    else:
        count = free_cores()
        why = f"{count} of {cores} cores are free"
    torch.set_num_threads(count)
    return f"{_threads(count)}: {why}"


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"
