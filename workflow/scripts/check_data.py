"""Say which texts of dev and test sets are in the train set too, and which classes have no row."""

import logging

from ftft.data import inspection
from ftft.jobs.job import Job, run

log = logging.getLogger(__name__)


def main(job: Job) -> None:
    cfg: inspection.Check = job.params.cfg
    output = job.output
    data = dict(zip(cfg["datasets"], job.input.data, strict=True))
    for warning in inspection.check(data, cfg["labels"], cfg["group"], output.table, output.text):
        log.warning("%s", warning)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
