"""Put the scores and costs of all runs into one table."""

from ftft import summary
from ftft.job import Job, run
from ftft.schemas import read_table


def main(job: Job) -> None:
    summary.summarize(job.params.cfg["entries"], job.output.table, job.output.csv)
    comparison = read_table(job.input.comparison)
    table = summary.overview(read_table(job.output.table), job.params.cfg["metric"], comparison=comparison)
    print(summary.as_text(table))


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
