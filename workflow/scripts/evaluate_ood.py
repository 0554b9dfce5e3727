"""Evaluate a trained model on the test sets, in and out of distribution."""

from pathlib import Path

from ftft import evaluation, gpus
from ftft.job import Job, run


def main(job: Job) -> None:
    names = job.params.cfg["datasets"]
    device = job.runtime.get("runtime", {}).get("device", "auto")
    with gpus.assigned(job.gpus, device=device):
        evaluation.evaluate(
            Path(job.input.models) / job.wildcards.checkpoint,
            Path(job.input.source).parent,
            dict(zip(names, map(Path, job.input.tokens), strict=True)),
            dict(zip(names, map(Path, job.output.predictions), strict=True)),
            Path(job.output.metrics),
            curve=Path(job.input.curve),
            splits=names,
            precision=job.params.cfg["precision"],
            device=device,
            threads=job.threads,
        )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
