"""Fine-tune a model on all training data and record its training dynamics."""

from ftft import launch
from ftft.job import Job, run


def main(job: Job) -> None:
    launch.train(job, f"{job.wildcards.reference} on all data, seed {job.wildcards.seed}")


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
