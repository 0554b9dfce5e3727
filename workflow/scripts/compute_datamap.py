"""Compute the data map of a reference run from its training dynamics."""

from ftft.compute.cost import measured
from ftft.dynamics import datamap
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    cfg: datamap.DataMapSettings = job.params.cfg
    with measured("datamap", job.output.cost):
        datamap.write(job.input.dynamics, job.input.data, job.output.datamap, **cfg)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
