"""Say what every method will cost, when its main model has to stop for it to pay, and what memory trainings take."""

import logging

from ftft.jobs.job import Job, run
from ftft.results import forecast, memory
from ftft.results.memory_count import Machine, needed
from ftft.results.replay import ForecastSettings, replay

log = logging.getLogger(__name__)


def main(job: Job) -> None:
    cfg: ForecastSettings = job.params.cfg
    output = job.output
    gpus, cuda_graphs = job.runtime.get("gpus") or {}, (job.runtime.get("runtime") or {}).get("cuda_graphs", True)
    replays = replay(cfg["work"], gpus, cuda_graphs=cuda_graphs)
    machine = Machine(gpus, job.runtime.get("mem_mb") or {}, cuda_graphs=cuda_graphs)
    trainings = needed(cfg["work"], replays, machine)
    memory.write(trainings, output.memory, output.memory_csv)
    said = memory.as_text(trainings)
    warnings = forecast.write(cfg["methods"], replays, output.table, output.csv, output.text, more=said)
    if warnings:
        log.warning("%d methods cannot be cheaper than ERM; %s says why", len(warnings), output.text)
    for warning in memory.warnings(trainings):
        log.warning("%s", warning)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
