"""Evaluate a trained model on the test sets, in and out of distribution."""

from pathlib import Path

from ftft.evaluation import evaluate
from ftft.jobs import gpus
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    cfg: evaluate.Evaluate = job.params.cfg
    names, trained = cfg["datasets"], cfg["trained"]
    model = Path(job.input.model)  # a mean of weights has a folder of its own, the models of a run share one
    model = model / trained if job.wildcards.checkpoint == trained else model
    device = job.environment.runtime.device
    with gpus.assigned(job.gpus, device=device):
        evaluate.evaluate(
            model,
            Path(job.input.source).parent,
            dict(zip(names, map(Path, job.input.tokens), strict=True)),
            dict(zip(names, map(Path, job.output.predictions), strict=True)),
            Path(job.output.metrics),
            curve=Path(job.input.curve),
            trained=trained,
            splits=names,
            precision=cfg["precision"],
            device=device,
            threads=job.threads,
            title=f"{job.wildcards.run}/{job.wildcards.checkpoint}",
        )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
