"""Select the part of the train set that a main model is trained on."""

from ftft.compute.cost import measured
from ftft.dynamics import selection
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    cfg: selection.SelectSettings = job.params.cfg
    with measured("select", job.output.cost):
        selection.write(job.input.scores, job.output.subset, **cfg, seed=int(job.wildcards.seed))


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
