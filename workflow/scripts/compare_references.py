"""Say which references are suitable, and how far their data maps agree."""

from ftft.jobs.job import Job, run
from ftft.results import transfer


def main(job: Job) -> None:
    output = job.output
    tables = (output.references, output.references_csv), (output.transfer, output.transfer_csv)
    transfer.write(job.params.cfg, job.input.dev, *tables, output.text)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
