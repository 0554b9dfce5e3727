"""Say what every method will cost, and when its main model has to stop for it to be cheaper than ERM."""

import logging

from ftft.jobs.job import Job, run
from ftft.results import forecast
from ftft.results.replay import ForecastSettings, replay

log = logging.getLogger(__name__)


def main(job: Job) -> None:
    cfg: ForecastSettings = job.params.cfg
    output = job.output
    runtime = job.runtime.get("runtime") or {}
    replays = replay(cfg["work"], job.runtime.get("gpus"), cuda_graphs=runtime.get("cuda_graphs", True))
    warnings = forecast.write(cfg["methods"], replays, output.table, output.csv, output.text)
    if warnings:
        log.warning("%d methods cannot be cheaper than ERM; %s says why", len(warnings), output.text)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
