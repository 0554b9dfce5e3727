"""Early stopping and learning-rate schedules: pure rules on steps and dev scores, with a state that can be saved."""

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class EarlyStopping:
    """Stop after ``patience`` evaluations in a row without a better score.

    Attributes:
        monitor: which score is watched.
        patience: evaluations to wait.
        min_delta: a score is better if it exceeds the best so far by more than this.
        best, best_step: the best score so far and its step.
        stopped: the step at which the rule said stop, or None.
    """

    monitor: str
    patience: int
    min_delta: float = 0.0
    best: float = -math.inf
    best_step: int = 0
    waited: int = 0
    stopped: int | None = None

    def update(self, step: int, score: float) -> bool:
        """Take in the score of an evaluation; True if it is the best so far. Once stopped, nothing changes any more."""
        if self.stopped is not None:
            return False
        if score > self.best + self.min_delta or self.best_step == 0:
            self.best, self.best_step, self.waited = score, step, 0
            return True
        self.waited += 1
        if self.waited >= self.patience:
            self.stopped = step
        return False


@dataclass
class Schedule:
    """The learning rate of a step: a linear rise over the warm-up, then linear, cosine, constant or plateau.

    Attributes:
        kind: shape after the warm-up. ``linear`` and ``cosine`` fall to 0 at the last step; ``plateau`` is constant,
            and halves when the dev score has not improved for two evaluations.
        peak: rate at the end of the warm-up.
        warmup: steps of the warm-up.
        steps: steps of the whole run.
    """

    kind: Literal["linear", "cosine", "constant", "plateau"]
    peak: float
    warmup: int
    steps: int
    scale: float = 1.0
    watch: EarlyStopping = field(default_factory=lambda: EarlyStopping("dev", patience=2))

    def rate(self, step: int) -> float:
        """The learning rate of optimizer step ``step``, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(self.steps - self.warmup, 1)
        factor = {"linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}.get(self.kind, 1.0)
        return self.peak * factor * self.scale

    def observe(self, step: int, score: float) -> None:
        """Take in a dev score; only ``plateau`` minds it."""
        if self.kind == "plateau":
            self.watch.update(step, score)
            if self.watch.stopped is not None:
                self.scale /= 2
                self.watch = EarlyStopping("dev", patience=2, best=self.watch.best, best_step=self.watch.best_step)
