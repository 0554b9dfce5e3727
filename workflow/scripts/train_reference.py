"""Fine-tune a model on all training data and record its training dynamics."""

from ftft.jobs.job import Job, run
from ftft.training import launch


def main(job: Job) -> None:
    launch.train(job, f"{job.wildcards.reference} on all data, seed {job.wildcards.seed}")


if __name__ == "__main__":
    run(main, globals().get("snakemake"), afterwards=launch.forget)
