"""Write the tables for papers, as CSV and as LaTeX."""

from ftft.display import tables
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    tables.write(
        job.params.cfg["tables"],
        job.params.cfg["metric"],
        summary=job.input.summary,
        comparison=job.input.comparison,
        references=next(iter(job.input.references), None),
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
