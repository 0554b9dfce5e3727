"""Read one split of labelled text from its source and write it in the common form."""

from ftft import data
from ftft.job import Job, run


def main(job: Job) -> None:
    data.download(job.params.cfg, job.output.data, job.runtime.get("data_dir", "."))


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
