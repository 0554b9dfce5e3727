"""Say what every method will cost, when its main model has to stop for it to pay, and what memory trainings take."""

from ftft.jobs.job import Job, run
from ftft.results import preview
from ftft.results.machine import Machine


def main(job: Job) -> None:
    output, runtime = job.output, job.runtime.get("runtime") or {}
    preview.write(
        job.params.cfg,
        Machine(
            job.runtime.get("gpus") or {},
            job.runtime.get("mem_mb") or {},
            **{key: runtime[key] for key in ("device", "cuda_graphs", "compile") if key in runtime},
        ),
        table=output.table,
        csv=output.csv,
        text=output.text,
        memory_table=output.memory,
        memory_csv=output.memory_csv,
    )


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
