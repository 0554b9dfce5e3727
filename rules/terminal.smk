# In:  what Snakemake says of its jobs; summary.txt, references.txt, forecast.txt, data_checks.txt
# Out: lines in the terminal: how many trainings are done, and at the end what came out, or what failed;
#      the locks of a run that was killed are removed
#
# Snakemake calls these hooks in no dry run, in no job on a cluster, and not where there is nothing to do.
import logging

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from ftft.jobs import running

SNAKEMAKE = Path(".snakemake")

# Before Snakemake looks for them. A job on a cluster, which parses this too, has no business with locks.
if workflow.is_main_process and running.forget_killed(SNAKEMAKE):
    logger.info("A run was killed here; its locks are removed, and this one goes on.")


class Watch(logging.Handler):
    """Counts the trainings, since a step may take a second or a day, and collects the logs of failed jobs."""

    def __init__(self):
        super().__init__()
        self.rules = {}  # names, of the jobs that are to run, by their ids
        self.done, self.total = 0, 0
        self.failed = []

    def start(self, jobs):
        self.rules = {job.jobid: job.rule.name for job in jobs}
        self.total = sum(map(self.is_training, self.rules))
        logger.addHandler(self)

    def is_training(self, jobid):
        return self.rules.get(jobid, "").startswith("train_")

    def emit(self, record):
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_FINISHED and self.is_training(record.job_id):
            self.done += 1
            logger.info(f"{self.done} of {self.total} trainings done")
        elif event == LogEvent.JOB_ERROR:
            self.failed += [log for log in record.log if log not in self.failed]


WATCH = Watch()


def why(log):
    """The line of a log that says why its job failed, where the terminal has not shown it: on a cluster."""
    if workflow.local_exec or not Path(log).exists():
        return ""
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    return next(
        (f": {line}" for line in text.splitlines() if line[8:15] == " ERROR "), ""
    )


def show(path):
    """Print a table that was made for the terminal, or warnings, where there are any."""
    if Path(path).exists() and Path(path).stat().st_size:
        logger.info("\n" + Path(path).read_text(encoding="utf-8"))


onstart:
    WATCH.start(workflow.dag.needrun_jobs())
    # Jobs on a cluster go on without Snakemake, so there a person has to look before the locks are removed.
    if workflow.local_exec:
        running.hold(
            SNAKEMAKE, getattr(workflow.persistence, "_lockfile", {}).values()
        )


onsuccess:
    made = set(WATCH.rules.values())
    if made & {
        "check_data",
        "forecast",
        "compare_references",
        "summarize",
        "report",
    }:
        show(LAYOUT.data_checks.txt)
    if made & {"summarize", "report"}:
        show(LAYOUT.summary.txt)
    else:
        if "compare_references" in made:
            show(LAYOUT.references.txt)
        if made & {"compare_references", "forecast"}:
            show(LAYOUT.forecast.txt)
    if "report" in made:
        logger.info(f"The page: {Path(LAYOUT.page).absolute()}")


onerror:
    if WATCH.failed:
        logger.error(
            "\n".join(
                [
                    "Failed; the end of each log says why:",
                    *(f"{log}{why(log)}" for log in WATCH.failed),
                ]
            )
        )
    logger.error("Finished results are kept: the same command goes on from here.")
