"""Say which references are suitable, and how far their data maps agree."""

from pathlib import Path

from ftft.core import artifacts
from ftft.jobs.job import Job, run
from ftft.results import transfer
from ftft.results.schemas import REFERENCES


def main(job: Job) -> None:
    cfg: transfer.TransferSettings = job.params.cfg
    output = job.output
    tables = (output.references, output.references_csv), (output.transfer, output.transfer_csv)
    transfer.report(cfg["runs"], job.input.dev, cfg["metric"], cfg["labels"], *tables)
    Path(output.text).write_text(
        transfer.as_text(artifacts.read(output.references, REFERENCES)) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
