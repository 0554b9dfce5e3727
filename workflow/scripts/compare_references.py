"""Say which references will do, and how far their data maps agree."""

from ftft import transfer
from ftft.job import Job, run
from ftft.schemas import read_table


def main(job: Job) -> None:
    cfg, output = job.params.cfg, job.output
    tables = (output.references, output.references_csv), (output.transfer, output.transfer_csv)
    transfer.report(cfg["runs"], job.input.dev, cfg["metric"], cfg["labels"], *tables)
    print(transfer.as_text(read_table(output.references)))


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
