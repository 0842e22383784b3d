"""Compute dense CRFs of whole pictures, one after another as a network gives them, in processes of their own."""

from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from torch import Tensor

from gain_lightning.segmentation.crf.dense import bounded, dense_crf, resolve_backend
from gain_lightning.segmentation.crf.kernels import Kernels
from gain_lightning.segmentation.crf.lattice import lattice_labels
from gain_lightning.support.workers import heed_parent_alone, signals_held


class CrfPool:
    """Processes that segment pictures of any size by :func:`gain_lightning.segmentation.crf.dense.dense_crf`.

    Args:
        num_workers: Number of processes; 0 stays in this one, and so does the torch backend. They are spawned with
            the first picture, so a script that asks for them needs ``if __name__ == "__main__"``.

    Raises:
        ValueError: If ``num_workers`` is negative.

    Example:
        >>> import torch
        >>> log_probs = torch.tensor([0.6, 0.4]).log().view(2, 1, 1).expand(2, 4, 4)
        >>> with CrfPool(0) as pool:
        ...     pool.submit(log_probs, torch.zeros(4, 4, 3, dtype=torch.uint8)).result().shape
        (4, 4)
    """

    def __init__(self, num_workers: int) -> None:
        if num_workers < 0:
            raise ValueError(f"num_workers is {num_workers}, expected at least 0")
        self.num_workers = num_workers if resolve_backend("auto") == "pydensecrf2" else 0
        self._executor: ProcessPoolExecutor | None = None
        self._waiting: deque[Future] = deque()

    def submit(self, log_probs: Tensor, image: Tensor) -> "Future[np.ndarray]":
        """Begin with a picture.

        Pictures on their way take memory, so this waits while there are more than two for each process.

        Args:
            log_probs: Log-probabilities of the classes, background included, shape ``(C, H, W)``.
            image: The picture, shape ``(H, W, 3)`` uint8.

        Returns:
            The future of the likeliest class of every pixel, ``(H, W)`` uint8.
        """
        if not self.num_workers:
            done: Future[np.ndarray] = Future()
            marginals = dense_crf(log_probs[None], image[None], backend="auto")[0]
            done.set_result(marginals.argmax(0).cpu().numpy().astype(np.uint8))
            return done
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.num_workers, get_context("spawn"), initializer=heed_parent_alone
            )
        while len(self._waiting) > 2 * self.num_workers:
            self._waiting.popleft().exception()
        arrays = bounded(log_probs.detach().float()).cpu().numpy(), image.cpu().numpy()
        # The executor starts its processes when it gets work.
        with signals_held():
            self._waiting.append(self._executor.submit(lattice_labels, *arrays, Kernels()))
        return self._waiting[-1]

    def close(self) -> None:
        """End the processes; pictures that nobody waited for are lost."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._executor = None
        self._waiting.clear()

    def __enter__(self) -> "CrfPool":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
