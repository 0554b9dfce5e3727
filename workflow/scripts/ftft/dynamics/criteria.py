"""The criteria that select training examples: which score of the data map orders them, and which end comes first."""

from dataclasses import dataclass

from ftft.dynamics.measures import MEASURES


@dataclass(frozen=True)
class Criterion:
    """The score that orders the examples, and which end of it comes first."""

    column: str | None  # of the data map; None: random numbers
    descending: bool


RANDOM = "random"

CRITERIA = {
    "ambiguous": Criterion("variability", descending=True),
    "hard": Criterion("confidence", descending=False),
    "easy": Criterion("confidence", descending=True),
    RANDOM: Criterion(None, descending=False),
}
for _measure in MEASURES:
    CRITERIA[f"{_measure}-high"] = Criterion(_measure, descending=True)
    CRITERIA[f"{_measure}-low"] = Criterion(_measure, descending=False)
