"""Select the part of the train set that a main model is trained on."""

from ftft import selection
from ftft.job import Job, run


def main(job: Job) -> None:
    selection.write(job.input.scores, job.output.subset, **job.params.cfg, seed=int(job.wildcards.seed))


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
