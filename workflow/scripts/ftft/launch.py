"""Start the training that a job asks for."""

from pathlib import Path

from ftft import training
from ftft.job import Job


def train(job: Job, title: str) -> None:
    """Run ``training.train`` on the inputs, outputs and settings of a job of rule train_reference or train_main."""
    inputs = dict(job.input.items())
    outputs = {name: Path(path) for name, path in job.output.items()}
    files = training.Files(
        source=Path(job.input.source).parent,
        train=Path(job.input.train),
        dev={name: Path(path) for name, path in zip(job.params.cfg["dev"], job.input.dev, strict=True)},
        subset=Path(inputs["subset"]) if "subset" in inputs else None,
        models=outputs["models"],
        metrics=outputs["metrics"],
        cost=outputs["cost"],
        dynamics=outputs.get("dynamics"),
        # Beside the outputs, not among them: Snakemake deletes outputs when a job starts or fails.
        state=outputs["metrics"].parent / "state",
    )
    training.train(
        job.params.cfg,
        files,
        seed=int(job.wildcards.seed),
        runtime=job.runtime.get("runtime"),
        threads=job.threads,
        code=job.params.code,
        title=title,
    )
