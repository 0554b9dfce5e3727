"""Draw the figures for papers."""

from ftft.display import figures
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    references, transfer = job.input.references or (None, None)
    figures.draw(
        job.params.cfg["figures"],
        job.params.cfg["metric"],
        summary=job.input.summary,
        cost_curve=job.input.cost_curve,
        references=references,
        transfer=transfer,
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
