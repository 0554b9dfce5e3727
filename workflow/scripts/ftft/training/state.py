"""All that changes while a run goes on, beside the weights and what the optimizer remembers of them."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ftft.compute.cost import CostMeter
from ftft.training.schedule import Schedule
from ftft.training.stopping import EarlyStopping, RankingStop

Weights = dict[str, torch.Tensor]


@dataclass
class State:
    """The state of a run.

    Attributes:
        schedule: of the learning rate.
        stops: the stop rules, by the name that the best model by each is saved under.
        reference_stop: what ends the training dynamics, if anything does.
        step: steps taken.
        due: dev sets to score before the next step.
        loss: mean of the latest losses.
        best: weights in main memory, by the name that they will be saved under.
        curve: rows of the dev curve.
        costs: rows of the cost table.
        meter: what was computed so far.
    """

    schedule: Schedule
    stops: dict[str, EarlyStopping]
    reference_stop: RankingStop | None
    step: int = 0
    due: list[str] = field(default_factory=list)
    loss: float = math.nan
    best: dict[str, Weights] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    costs: list[dict[str, Any]] = field(default_factory=list)
    meter: CostMeter = field(default_factory=CostMeter)

    def step_of(self, name: str) -> int:
        """The step that a saved model is of."""
        if name in self.stops:
            return self.stops[name].best_step
        stop = self.reference_stop
        return stop.stopped if stop is not None and name == stop.name and stop.stopped is not None else self.step

    def plain(self) -> dict[str, Any]:
        """What a file keeps of it: built-in types and tensors."""
        return vars(self) | {
            "schedule": asdict(self.schedule),
            "stops": {name: asdict(stop) for name, stop in self.stops.items()},
            "reference_stop": asdict(self.reference_stop) if self.reference_stop else None,
            "meter": self.meter.state(),
        }

    @classmethod
    def restore(cls, plain: dict[str, Any]) -> "State":
        """The state that ``plain`` was made of."""
        schedule, reference_stop = dict(plain["schedule"]), plain["reference_stop"]
        watch = EarlyStopping(**schedule.pop("watch"))
        made = {
            "schedule": Schedule(**schedule, watch=watch),
            "stops": {name: EarlyStopping(**stop) for name, stop in plain["stops"].items()},
            "reference_stop": RankingStop(**reference_stop) if reference_stop else None,
            "meter": CostMeter.restore(plain["meter"]),
        }
        return cls(**plain | made)
