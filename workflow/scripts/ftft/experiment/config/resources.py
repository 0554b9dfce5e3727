"""The configuration of what a training asks of a machine or a cluster."""

import re
from typing import Any

from humanfriendly import InvalidTimespan, parse_timespan
from pydantic import Field, field_validator

from ftft.core.errors import shown
from ftft.experiment.config.sections import Section

LONGEST = 14 * 24 * 60  # minutes
SHARES = (0.5, 0.25, 0.125)  # of a GPU


class Resources(Section):
    """What one training job of this model asks of the machine or the cluster."""

    gpu: float = Field(
        0,
        ge=0,
        description="number of GPUs, where more than one means as many processes; or 0.5, 0.25 or 0.125 of one that "
        "two, four or eight jobs share",
    )
    mem_mb: int = Field(8000, ge=1, description="main memory in MB; at the n-th attempt, n times as much")
    runtime: str | int = Field(
        "4h",
        description="wall-clock time: minutes, or text such as 8h or '12:30:00'; at the n-th attempt, n times as much",
    )
    threads: int = Field(2, ge=1, description="CPU cores")

    @field_validator("gpu")
    @classmethod
    def _check_gpu(cls, gpu: float) -> float:
        if gpu.is_integer():
            return int(gpu)
        if gpu not in SHARES:
            raise ValueError(f"a number of GPUs is whole, or {', '.join(map(str, SHARES))} of one; found {gpu:g}")
        return gpu

    @property
    def minutes(self) -> int:
        """``runtime`` in minutes, at least one."""
        return max(_minutes(self.runtime), 1)

    @field_validator("runtime", mode="before")
    @classmethod
    def _check_runtime(cls, runtime: Any) -> str | int:
        if isinstance(runtime, bool) or not isinstance(runtime, str | int):
            raise ValueError(f"{_TIMES}; found {shown(runtime)}")
        if _minutes(runtime) < 0:
            raise ValueError(f"a time is not negative; found {shown(runtime)}")
        if _is_number(runtime) and int(runtime) > LONGEST:
            raise ValueError(
                f"{shown(runtime)} minutes are more than 14 days. YAML reads 12:00:00 without quote marks in base 60: "
                "write 12h, or put the time between quote marks"
            )
        return runtime


_TIMES = "a time is a number of minutes, or text such as 90m, 8h, 2d or '12:30:00'"


def _is_number(time: str | int) -> bool:
    return isinstance(time, int) or re.fullmatch(r"\s*[0-9]+\s*", time) is not None


def _minutes(time: str | int) -> int:
    """A time as Snakemake reads it: a number of minutes, or text such as 8h; or as SLURM writes it, with two colons."""
    if _is_number(time):
        return int(time)
    if match := re.fullmatch(r"\s*(?:(\d{1,4})-)?(\d{1,4}):(\d\d):(\d\d)\s*", str(time)):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return round(days * 24 * 60 + hours * 60 + minutes + seconds / 60)
    if ":" in str(time):
        raise ValueError(f"{shown(time)} may be hours or minutes; write it as 90m or 12h, or as '12:30:00'")
    try:
        return round(parse_timespan(str(time)) / 60)
    except (InvalidTimespan, OverflowError):
        raise ValueError(f"{_TIMES}; found {shown(time)}") from None
