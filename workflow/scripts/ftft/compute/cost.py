"""What a run costs, counted as it happens: operations, tokens and seconds, by stage."""

import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ftft.compute.schemas import COST
from ftft.core.artifacts import write_table
from ftft.models.saved import FINAL


@dataclass
class Stage:
    """Totals of one kind of work; tokens are those of the texts, padded tokens those that were computed."""

    steps: int = 0
    examples: int = 0
    tokens: int = 0
    tokens_padded: int = 0
    flops: float = 0.0
    seconds: float = 0.0

    def add(self, other: "Stage") -> None:
        """Add the totals of other work."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class CostMeter:
    """Counts the stages ``start``, ``train``, ``evaluate`` and ``save`` of a run, and can be saved and restored."""

    stages: dict[str, Stage] = field(
        default_factory=lambda: {name: Stage() for name in ("start", "train", "evaluate", "save")}
    )

    @contextmanager
    def measure(self, stage: str) -> Iterator[Stage]:
        """Add the seconds of the block to ``stage``; the block adds the rest to what it is given."""
        start = time.perf_counter()
        try:
            yield self.stages[stage]
        finally:
            self.stages[stage].seconds += time.perf_counter() - start

    def rows(self, checkpoint: str, device: str, precision: str | None, peak_memory_mb: float) -> list[dict[str, Any]]:
        """The totals so far as rows of the cost table, under the name of a checkpoint."""
        return [
            {
                "checkpoint": checkpoint,
                "stage": name,
                **asdict(stage),
                "device": device,
                "precision": precision,
                "peak_memory_mb": peak_memory_mb,
            }
            for name, stage in self.stages.items()
        ]

    def state(self) -> dict[str, Any]:
        return {name: asdict(stage) for name, stage in self.stages.items()}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "CostMeter":
        return cls({name: Stage(**values) for name, values in state.items()})


@contextmanager
def measured(stage: str, output: str | Path) -> Iterator[None]:
    """Write a cost table with the seconds of the block, which computes without a model: its ``flops`` are 0."""
    meter = CostMeter({stage: Stage()})
    with meter.measure(stage):
        yield
    write_table(pa.Table.from_pylist(meter.rows(FINAL, "cpu", None, peak_memory_mb()), COST), output, COST)


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB."""
    # The system's own count begins with the size of the process that started this one; Linux has one without that.
    status = Path("/proc/self/status")
    if status.exists() and (own := re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)):
        return int(own[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
