"""Put the scores and costs of all runs into one table."""

from pathlib import Path

from ftft.core import artifacts
from ftft.jobs.job import Job, run
from ftft.results import summary
from ftft.results.overview import overview
from ftft.results.schemas import COMPARISON, SUMMARY
from ftft.results.text import as_text


def main(job: Job) -> None:
    summary.summarize(job.params.cfg["entries"], job.output.table, job.output.csv)
    metric, comparison = job.params.cfg["metric"], artifacts.read(job.input.comparison, COMPARISON)
    table = overview(artifacts.read(job.output.table, SUMMARY), metric, comparison=comparison)
    Path(job.output.text).write_text(as_text(table, metric) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
