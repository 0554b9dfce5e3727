"""How many steps a training run takes, and how often it looks at the dev sets."""

import math
from typing import Any


def per_epoch(examples: int, batch_size: int) -> int:
    """Steps of one pass over so many examples; the last batch may be smaller."""
    return math.ceil(examples / batch_size)


def planned(training: dict[str, Any], examples: int) -> int:
    """The steps that ``config.Training`` asks for.

    An epoch is a pass over the whole train set of so many ``examples``; a subset is trained on for as many steps.
    """
    return training["steps"] or max(1, round(training["epochs"] * per_epoch(examples, training["batch_size"])))


def budgeted(steps: int, budget: float) -> int:
    """The steps of a budget: that share of the planned ones, rounded, at least one."""
    return max(1, round(budget * steps))


def warmup(training: dict[str, Any], steps: int) -> int:
    """The steps of the warm-up: that share of so many, cut to a whole number."""
    return int(training["warmup"] * steps)


def between_evaluations(training: dict[str, Any], steps: int) -> int:
    """Steps between evaluations of all dev sets: as ``config.Training`` says, or a ninth of the planned ones."""
    return training["evaluate_every"] or math.ceil(steps / 9)
