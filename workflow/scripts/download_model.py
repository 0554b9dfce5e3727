"""Fetch a pretrained model, record what it is, and write its configuration and tokenizer."""

from pathlib import Path

from ftft.jobs.job import Job, run
from ftft.models import pretrained


def main(job: Job) -> None:
    folder = Path(job.output.source).parent
    pretrained.prepare(job.params.cfg, folder, train=getattr(job.input, "train", None))


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
