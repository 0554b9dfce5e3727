"""Put the scores and costs of all runs into one table."""

from pathlib import Path

from ftft import summary
from ftft.artifacts import read_table
from ftft.job import Job, run


def main(job: Job) -> None:
    summary.summarize(job.params.cfg["entries"], job.output.table, job.output.csv)
    metric, comparison = job.params.cfg["metric"], read_table(job.input.comparison)
    overview = summary.overview(read_table(job.output.table), metric, comparison=comparison)
    Path(job.output.text).write_text(summary.as_text(overview, metric) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
