"""What a script is asked to do: by Snakemake, or by hand on the command line."""

import argparse
import copy
import errno
import faulthandler
import glob
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ftft.core.errors import LINES, MESSAGE, InterruptedRunError, UserError, printable, reason, shown, without_middle
from ftft.jobs import manifest, running
from ftft.jobs.environment import VARIABLE, Environment
from ftft.jobs.planned import Planned

TRACEBACK = 100  # lines of one in a log; what somebody else's exception says may be of any length
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Job:
    """Inputs, outputs and parameters of one job.

    Attributes:
        input, output, params, wildcards: by name, as attributes.
        threads: CPU cores.
        gpus: number of GPUs that the job was given, or its share of one.
        log: log file, or None.
        environment: what surrounds it and changes no result.
    """

    def __init__(self, snakemake: Any = None) -> None:
        source = snakemake if snakemake is not None else _from_command_line()
        self.input, self.output = source.input, source.output
        self.params, self.wildcards = source.params, source.wildcards
        self.threads: int = source.threads
        # A scheduler is asked for a whole one, or for something else than GPUs, for a job that has a share.
        percent = getattr(source.resources, "gpu_percent", 0)
        self.gpus: float = percent / 100 if 0 < percent < 100 else getattr(source.resources, "gpu", 0)
        self.log: str | None = source.log[0] if source.log else None
        try:
            self.environment = Environment.here()
        except UserError as failure:
            sys.exit(str(failure))


def run(main: Callable[[Job], None], snakemake: Any = None, *, afterwards: Callable[[Job], None] | None = None) -> None:
    """Call ``main`` with the job, reporting to the terminal and the job's log file.

    What Snakemake's jobs were made from is left in a manifest. When that is written too and nothing can fail any more,
    ``afterwards`` clears what only an unfinished job needs.
    """
    job = Job(snakemake)
    if job.log:
        _empty(Path(job.log))
    with reporting(job.log):
        running.end_with_run()
        _remove_leftovers(job.output)
        if snakemake is not None and (plan := Planned.before()) is not None:
            plan.check_code(Path(main.__globals__["__file__"]))
        main(job)
        if snakemake is not None and job.log:
            manifest.record(job.log, job.params.cfg, job.params.code, snakemake.input, snakemake.output)
        if afterwards is not None:
            afterwards(job)


def _empty(log: Path) -> None:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("", encoding="utf-8")
    except OSError as failure:
        sys.exit(f"the log {shown(str(log), 160)} cannot be written: {failure.strerror}")


def _remove_leftovers(output: Any) -> None:
    """Delete what ``artifacts.atomic_path`` left of these outputs in a process that was killed.

    An output belongs to one job, so nobody else is writing it.
    """
    for entry in vars(output).values() if isinstance(output, SimpleNamespace) else output:
        for path in map(Path, entry if isinstance(entry, list) else [str(entry)]):
            for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
                leftover.unlink(missing_ok=True)


@contextmanager
def reporting(log: str | None, *, rank: int = 0) -> Iterator[None]:
    """Log to the terminal and the end of the file ``log``; turn what ends the job into one line and status 1.

    A line has a bounded length and no control characters, whoever writes it. The traceback of what is no ``UserError``
    goes to the file alone, if there is one; so does that of a crash in native code.

    Args:
        log: the file, or None.
        rank: of this process where several do one job: all know the same, so the others report no more than trouble.
    """
    terminal = logging.StreamHandler()
    terminal.setFormatter(_Formatter(rank, tracebacks=not log))
    handlers: list[logging.Handler] = [terminal]
    if log:
        file = _LogFile(log, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(_Formatter(rank, tracebacks=True))
        handlers.append(file)
        faulthandler.enable(open(log, "a", encoding="utf-8"))  # noqa: SIM115 — stays open for a crash at the very end
    logging.basicConfig(level=logging.WARNING if rank else logging.INFO, handlers=handlers, force=True)
    logging.setLogRecordFactory(_Record)
    logging.captureWarnings(True)
    for noisy in ("httpx", "filelock", "datasets", "accelerate", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield
    except InterruptedRunError as failure:
        if not rank:  # all processes have agreed on it
            logging.error("%s", failure)
        sys.exit(1)
    except UserError as failure:
        logging.error("%s", failure)
        sys.exit(1)
    except KeyboardInterrupt:
        logging.error("interrupted; run again to go on")
        sys.exit(1)
    except Exception as failure:
        if _is_no_room(failure):
            where = getattr(failure, "filename", None) or reason(failure)
            logging.error("the disk is full (%s): make room and run again; finished results are kept", where)
        else:
            what = f"unexpected {type(failure).__name__}: {reason(failure)}"
            logging.error("%s%s", what, f"; the traceback is in {log}" if log else "", exc_info=True)
        sys.exit(1)


def _is_no_room(failure: BaseException) -> bool:
    """Whether the disk or a quota is full, also in the words of libraries that raise something of their own."""
    number = failure.errno if isinstance(failure, OSError) else None
    return number in NO_ROOM or any(os.strerror(full) in str(failure) for full in NO_ROOM)


class _Record(logging.LogRecord):
    """A record of any library: few lines of bounded length, in which control characters are shown."""

    def getMessage(self) -> str:  # noqa: N802
        lines = super().getMessage().rstrip().split("\n")
        if len(lines) > LINES:
            lines[LINES - 1 :] = [f"and {len(lines) - LINES + 1} more lines"]
        return "\n".join(map(_line, lines))


class _Formatter(logging.Formatter):
    """Lines with the time; a traceback, where it belongs, is bounded too."""

    def __init__(self, rank: int, *, tracebacks: bool) -> None:
        process = f"process {rank}: " if rank else ""
        super().__init__(f"%(asctime)s %(levelname)s {process}%(message)s", datefmt="%H:%M:%S")
        self.tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)  # or what one handler shows would be shown by the next
        record.exc_text = None
        if not self.tracebacks:
            record.exc_info = record.stack_info = None
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        lines = super().formatException(ei).split("\n")
        if len(lines) > TRACEBACK:
            half = TRACEBACK // 2
            lines[half:-half] = [f"… {len(lines) - 2 * half} lines …"]
        return "\n".join(map(_line, lines))


class _LogFile(logging.FileHandler):
    """A log that says nothing of its own trouble where the disk is full: the job's own message does."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def _line(text: str) -> str:
    """One line without control characters, which keeps its indentation and loses its middle if it is too long."""
    # The codes of control characters are longer than they.
    return without_middle(printable(without_middle(text, MESSAGE)), MESSAGE)


def _from_command_line() -> SimpleNamespace:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__,
        epilog="Each NAME=VALUE is as in the rule of the same name; a VALUE may be JSON. "
        f"What surrounds the job, as JSON, is in the variable {VARIABLE}.",
    )
    for kind in ("input", "output", "params", "wildcards"):
        parser.add_argument(f"--{kind}", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--gpus", type=float, default=0, help="how many, or 0.5, 0.25 or 0.125 of one")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--log", metavar="FILE")
    arguments = parser.parse_args()
    named = {
        kind: SimpleNamespace(**_pairs(getattr(arguments, kind))) for kind in ("input", "output", "params", "wildcards")
    }
    resources = SimpleNamespace(gpu=arguments.gpus)
    return SimpleNamespace(
        **named, resources=resources, threads=arguments.threads, log=[arguments.log] if arguments.log else []
    )


def _pairs(words: list[str]) -> dict[str, Any]:
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            sys.exit(f"expected NAME=VALUE, found {shown(word)}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found
