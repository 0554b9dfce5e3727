"""Put the scores and costs of all runs into one table."""

from ftft import summary
from ftft.job import Job, run
from ftft.schemas import read_table


def main(job: Job) -> None:
    summary.summarize(job.params.cfg["entries"], job.output.table, job.output.csv)
    print(summary.as_text(summary.overview(read_table(job.output.table), job.params.cfg["metric"])))


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
