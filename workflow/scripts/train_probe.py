"""Train a classifier's own head on the frozen features of its encoder, for main models to start from."""

from ftft.jobs.job import Job, run
from ftft.training import launch


def main(job: Job) -> None:
    launch.train(job, f"head of {job.wildcards.model}, seed {job.wildcards.seed}")


if __name__ == "__main__":
    run(main, globals().get("snakemake"), afterwards=launch.forget)
