"""Say what every method will cost, when its main model has to stop for it to pay, and what memory trainings take."""

from ftft.jobs.job import Job, run
from ftft.results import preview
from ftft.results.machine import Machine


def main(job: Job) -> None:
    output, there = job.output, job.environment
    preview.write(
        job.params.cfg,
        Machine(there.gpus, there.mem_mb, there.runtime.device, there.runtime.cuda_graphs, there.runtime.compile),
        table=output.table,
        csv=output.csv,
        text=output.text,
        memory_table=output.memory,
        memory_csv=output.memory_csv,
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
