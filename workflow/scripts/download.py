"""Read one split of labelled text from its source and write it in the common form."""

from ftft.data import prepare
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    url = job.environment.urls.get(job.wildcards.dataset)
    prepare.download(job.params.cfg, job.output.data, job.environment.data_dir, url)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
