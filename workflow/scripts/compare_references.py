"""Say which references will do, and how far their data maps agree."""

from pathlib import Path

from ftft.core import schemas
from ftft.jobs.job import Job, run
from ftft.results import transfer


def main(job: Job) -> None:
    cfg, output = job.params.cfg, job.output
    tables = (output.references, output.references_csv), (output.transfer, output.transfer_csv)
    transfer.report(cfg["runs"], job.input.dev, cfg["metric"], cfg["labels"], *tables)
    Path(output.text).write_text(
        transfer.as_text(schemas.read(output.references, schemas.REFERENCES)) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
