"""What is said before the first step: what every method will cost, and what memory each training takes."""

import logging
from pathlib import Path

from ftft.results import forecast, memory
from ftft.results.machine import Machine
from ftft.results.memory_count import needed
from ftft.results.replay import ForecastSettings, replay

log = logging.getLogger(__name__)


def write(
    cfg: ForecastSettings,
    machine: Machine,
    *,
    table: str | Path,
    csv: str | Path,
    text: str | Path,
    memory_table: str | Path,
    memory_csv: str | Path,
) -> None:
    """Write both forecasts as Parquet and CSV, and what the terminal shows of them; warnings go to the log as well.

    Args:
        cfg: the methods, and the work that they are.
        machine: what there is to do it.
        table, csv, text: of the costs; the text has both.
        memory_table, memory_csv: of the memory.
    """
    replays = replay(cfg["work"], machine)
    trainings = needed(cfg["work"], replays, machine)
    memory.write(trainings, memory_table, memory_csv)
    warnings = forecast.write(cfg["methods"], replays, table, csv, text, more=memory.as_text(trainings))
    if warnings:
        log.warning("%d methods cannot be cheaper than ERM; %s says why", len(warnings), text)
    for warning in memory.warnings(trainings):
        log.warning("%s", warning)
