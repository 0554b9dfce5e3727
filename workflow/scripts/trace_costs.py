"""Trace the dev score of every run against what it had cost by then."""

from ftft.jobs.job import Job, run
from ftft.results import cost_curve


def main(job: Job) -> None:
    cost_curve.trace(job.params.cfg["entries"], job.output.table, job.output.csv)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
