"""Stop rules: pure rules on dev scores and on how examples are ranked, with a state that can be saved."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ftft.dynamics import measures
from ftft.dynamics.criteria import CRITERIA
from ftft.dynamics.ranking import correlation, first, overlap


@dataclass
class EarlyStopping:
    """Stop after ``patience`` evaluations in a row without a better score.

    Waiting begins with the first score above chance: before that, a model has learned nothing that could get worse.

    Attributes:
        monitor: which score is watched.
        patience: evaluations to wait.
        min_delta: a score is better if it exceeds the best so far by more than this.
        every: steps between the rule's own looks; None: it looks whenever all dev sets are scored.
        chance: the score of a model that predicts one class, the most common.
        best, best_step: the best score so far and its step.
        waited: evaluations since then; those before the first score above chance do not count.
        stopped: the step at which the rule said stop, or None.
    """

    monitor: str
    patience: int
    min_delta: float = 0.0
    every: int | None = None
    chance: float = -math.inf
    best: float = -math.inf
    best_step: int = 0
    waited: int = 0
    stopped: int | None = None

    def looks_at(self, step: int) -> bool:
        """Whether the rule wants a look of its own after a step."""
        return self.every is not None and step % self.every == 0

    def update(self, step: int, score: float) -> bool:
        """Take in the score of an evaluation; True if it is the best so far. Once stopped, nothing changes any more."""
        if self.stopped is not None:
            return False
        if score > self.best + self.min_delta or self.best_step == 0:
            self.best, self.best_step, self.waited = score, step, 0
            return True
        if self.waited or max(score, self.best) > self.chance:
            self.waited += 1
        if self.waited >= self.patience:
            self.stopped = step
        return False


@dataclass
class RankingStop:
    """Stop a reference when one more epoch no longer changes how its dynamics rank the examples.

    A ranking needs two epochs, so the first comparison is after three, or more where more are needed of the dynamics.

    Attributes:
        name: the saved model that costs are charged to.
        monitor: ``ranking`` compares the scores of all examples by Spearman's rank correlation, ``subset`` the first
            ``fraction`` of them by their Jaccard overlap.
        by: a key of ``CRITERIA``.
        fraction: share of the examples; ``subset`` only.
        bound: agreement at which to stop.
        least: epochs before the first comparison.
        agreement: the latest; NaN before the first comparison.
        stopped: the step at which the rule said stop, or None.
    """

    name: str
    monitor: Literal["ranking", "subset"]
    by: str
    fraction: float
    bound: float
    least: int = 3
    agreement: float = math.nan
    stopped: int | None = None

    def update(self, step: int, epochs: Sequence[NDArray[np.float32]], labels: ArrayLike, uids: ArrayLike) -> None:
        """Take in the (N, C) logits of every epoch so far, and the (N,) gold class indices and uids."""
        if self.stopped is not None or len(epochs) < self.least:
            return
        logits = np.stack(epochs)
        criterion = CRITERIA[self.by]
        before, now = (measures.compute(part, labels)[str(criterion.column)] for part in (logits[:-1], logits))
        if self.monitor == "ranking":
            self.agreement = correlation(before, now)
        else:
            subsets = (first(uids, each, self.fraction, descending=criterion.descending) for each in (before, now))
            self.agreement = overlap(*subsets)
        if self.agreement >= self.bound:
            self.stopped = step
