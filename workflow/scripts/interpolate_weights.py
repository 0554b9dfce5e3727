"""Take the mean of a model's fine-tuned and its pretrained weights."""

from pathlib import Path

from ftft import modelling
from ftft.job import Job, run


def main(job: Job) -> None:
    fine_tuned = Path(job.input.models) / job.params.cfg["checkpoint"]
    source = Path(job.input.source).parent
    modelling.interpolate(fine_tuned, source, Path(job.output.model), share=job.params.cfg["share"])


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
