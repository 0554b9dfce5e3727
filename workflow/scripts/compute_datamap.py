"""Compute the data map of a reference run from its training dynamics."""

from ftft import datamap
from ftft.cost import measured
from ftft.job import Job, run


def main(job: Job) -> None:
    with measured("datamap", job.output.cost):
        datamap.write(job.input.dynamics, job.input.data, job.output.datamap, **job.params.cfg)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
