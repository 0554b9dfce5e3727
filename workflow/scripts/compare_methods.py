"""Compare every method with ERM, with bootstrap intervals."""

from ftft import comparison
from ftft.job import Job, run


def main(job: Job) -> None:
    comparison.compare(job.params.cfg["entries"], job.output.table, job.output.csv)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
