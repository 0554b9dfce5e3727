"""The saved models of a run: their names, and the steps that they are of."""

import json
import os
from typing import TypedDict

from ftft.core.artifacts import damaged, read_metadata
from ftft.core.errors import shown

# The saved model of a run's last step; the others are named after their stop rules.
FINAL = "final"


class Mean(TypedDict):
    """What rule ``interpolate_weights`` is told."""

    checkpoint: str  # the saved model
    share: float  # of its weights


def read_step(curve: str | os.PathLike[str], name: str) -> int:
    """The step of a saved model, which the metadata of the run's dev curve know.

    Raises:
        UserError: as ``read_metadata``; there is no such saved model.
    """
    try:
        step = json.loads(read_metadata(curve, "checkpoints")["checkpoints"])[name]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        step = None
    if type(step) is not int:
        raise damaged(curve, f"checkpoints in its metadata do not say the step of {shown(name)}")
    return step
