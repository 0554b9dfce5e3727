"""What a reference's dynamics do to the training of a main model on all data. N examples, C classes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftft.core.errors import UserError
from ftft.dynamics.artifact import count_epochs, read_dynamics
from ftft.dynamics.measures import softmax


def upweighted(rows: NDArray[np.int64], wrong: NDArray[np.bool_], factor: int) -> NDArray[np.int64]:
    """``rows`` with those of the ``wrong`` (N,) examples ``factor`` times, in their order.

    Just Train Twice (Liu et al. 2021, algorithm 1): the examples that an identification model gets wrong are upsampled.
    """
    return np.repeat(rows, np.where(wrong[rows], factor, 1))


def wrong_predictions(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) whether the largest of the (N, C) logits, the lowest class among equals, is not the gold label's."""
    return logits.argmax(axis=1) != labels


def expert(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, C) log probabilities of the weak expert, to be added to the logits of the main model in its loss.

    The product of two experts has the log probabilities log p + log q, up to a constant (Hinton 2002). Where the weak
    one is sure and right, little is left to learn (Sanh et al. 2021, section 3.2; Clark et al. 2019).
    """
    smallest = np.finfo(np.float32).tiny
    return np.log(np.maximum(softmax(logits.astype(np.float64)), smallest)).astype(np.float32)


def read_epoch(dynamics: str | Path, n_rows: int, epoch: int, key: str) -> NDArray[np.float32]:
    """The (N, C) logits of one epoch of a reference.

    Args:
        dynamics: its training dynamics.
        n_rows: N.
        epoch: counted from 0.
        key: where the configuration says so, for the error.

    Raises:
        UserError: there is no such epoch.
    """
    found = read_dynamics(dynamics, n_rows, slice(epoch, epoch + 1))
    if not len(found):
        raise UserError(
            f"{key} is {epoch}, but training dynamics {dynamics} have the epochs 0 to {count_epochs(dynamics) - 1}; "
            "name one of them, or train the reference longer"
        )
    return found[0]
