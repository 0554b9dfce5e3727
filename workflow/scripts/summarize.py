"""Put the scores and costs of all runs into one table."""

from ftft.jobs.job import Job, run
from ftft.results import summary


def main(job: Job) -> None:
    cfg, output = job.params.cfg, job.output
    summary.write(cfg["entries"], job.input.comparison, cfg["metric"], output.table, output.csv, output.text)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
