"""The learning rate of each step, with a state that can be saved."""

import math
from dataclasses import dataclass, field
from typing import Literal

from ftft.training.stopping import EarlyStopping


@dataclass
class Schedule:
    """The learning rate of a step: a linear rise over the warm-up, then linear, cosine, constant or plateau.

    All but ``plateau`` are those of transformers (``get_linear_schedule_with_warmup`` and so on), to the last bit.

    Attributes:
        kind: shape after the warm-up. ``linear`` and ``cosine`` fall to 0 at the last step; ``plateau`` is constant,
            and halves when the dev score has not improved for two evaluations.
        peak: rate at the end of the warm-up.
        warmup: steps of the warm-up, the first of which has a rate of 0.
        steps: steps of the whole run.
        scale: what the rate is multiplied by; ``plateau`` halves it.
        watch: the rule by which ``plateau`` sees that the dev score no longer improves.
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
            return self.peak * (step / self.warmup)
        after = max(self.steps - self.warmup, 1)
        factor = 1.0
        if self.kind == "linear":
            factor = (self.steps - step) / after
        elif self.kind == "cosine":
            factor = (1 + math.cos(math.pi * ((step - self.warmup) / after))) / 2
        return self.peak * factor * self.scale

    def observe(self, step: int, score: float) -> None:
        """Take in a dev score; only ``plateau`` minds it, once the rate is at its peak."""
        if self.kind == "plateau" and step >= self.warmup:
            self.watch.update(step, score)
            if self.watch.stopped is not None:
                self.scale /= 2
                self.watch = EarlyStopping("dev", patience=2, best=self.watch.best, best_step=self.watch.best_step)
