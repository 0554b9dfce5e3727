"""Take the mean of a model's fine-tuned weights and those that it started from."""

from pathlib import Path

from ftft.jobs.job import Job, run
from ftft.models import classifier
from ftft.models.saved import FINAL, Mean


def main(job: Job) -> None:
    cfg: Mean = job.params.cfg
    fine_tuned = Path(job.input.models) / cfg["checkpoint"]
    start = Path(job.input.start) / FINAL
    source = Path(job.input.source).parent
    classifier.interpolate(fine_tuned, start, source, Path(job.output.model), share=cfg["share"])


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
