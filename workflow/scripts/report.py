"""Write the HTML page with the results, the data maps and how they came about."""

from ftft import report
from ftft.job import Job, run


def main(job: Job) -> None:
    cfg = job.params.cfg
    report.write(
        job.output.page,
        task=cfg["task"],
        config=cfg["config"],
        summary=job.input.summary,
        comparison=job.input.comparison,
        cost_curve=job.input.cost_curve,
        references=next(iter(job.input.references), None),
        datamaps=cfg["datamaps"],
        subsets=cfg["subsets"],
        train_data=job.input.train,
        group=cfg["group"],
        metric=cfg["metric"],
        figures=job.output.figures,
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
