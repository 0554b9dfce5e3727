"""Write the HTML page with the results, the data maps and how they came about."""

from ftft import report
from ftft.job import Job, run


def main(job: Job) -> None:
    cfg = job.params.cfg
    references, transfer = job.input.references or (None, None)
    settings = ("task", "config", "labels", "datamaps", "subsets", "group", "metric", "costs", "lineage", "blur_text")
    report.write(
        job.output.page,
        summary=job.input.summary,
        comparison=job.input.comparison,
        cost_curve=job.input.cost_curve,
        references=references,
        transfer=transfer,
        train_data=job.input.train,
        **{name: cfg[name] for name in settings},
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
