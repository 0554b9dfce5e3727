"""Compute the features of a frozen encoder for every example of the train set and the dev sets."""

from pathlib import Path

from ftft.compute import features
from ftft.jobs import gpus
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    cfg: features.Embed = job.params.cfg
    device = job.environment.runtime.device
    with gpus.assigned(job.gpus, device=device):
        features.embed(
            Path(job.input.source).parent,
            dict(zip(cfg["datasets"], map(Path, job.input.tokens), strict=True)),
            dict(zip(cfg["datasets"], map(Path, job.output.features), strict=True)),
            Path(job.output.cost),
            layers=cfg["layers"],
            precision=cfg["precision"],
            device=device,
            threads=job.threads,
        )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
