"""Write the HTML page with the results, the data maps and how they came about."""

from ftft.display import webpage
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    page: webpage.Page = job.params.cfg["page"]
    references, transfer = job.input.references or (None, None)
    webpage.write(
        job.output.page,
        summary=job.input.summary,
        comparison=job.input.comparison,
        cost_curve=job.input.cost_curve,
        forecast=job.input.forecast,
        memory=job.input.memory,
        references=references,
        transfer=transfer,
        train_data=job.input.train,
        checks=job.input.checks,
        **page,
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
