"""Fine-tune a main model on a subset of the training data."""

from ftft.jobs.job import Job, run
from ftft.training import launch


def main(job: Job) -> None:
    launch.train(job, f"{job.wildcards.main} on {job.wildcards.recipe}, seed {job.wildcards.seed}")


if __name__ == "__main__":
    run(main, globals().get("snakemake"), afterwards=launch.forget)
