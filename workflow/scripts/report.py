"""Write the HTML page with the results, the data maps and how they came about."""

from ftft.display import webpage
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    references, transfer = job.input.references or (None, None)
    made = webpage.Inputs(
        summary=job.input.summary,
        comparison=job.input.comparison,
        cost_curve=job.input.cost_curve,
        forecast=job.input.forecast,
        memory=job.input.memory,
        references=references,
        transfer=transfer,
        train=job.input.train,
        checks=job.input.checks,
    )
    webpage.write(job.output.page, job.params.cfg["page"], made)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
