"""Compare every method with ERM, with bootstrap intervals."""

from ftft.jobs.job import Job, run
from ftft.results import comparison


def main(job: Job) -> None:
    comparison.compare(job.params.cfg["entries"], job.output.table, job.output.csv)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
