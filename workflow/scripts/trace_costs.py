"""Trace the dev score of every run against what it had cost by then."""

from ftft import cost_curve
from ftft.job import Job, run


def main(job: Job) -> None:
    cost_curve.trace(job.params.cfg["entries"], job.output.table, job.output.csv)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
