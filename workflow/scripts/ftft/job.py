"""What a script is asked to do: by Snakemake, or by hand on the command line."""

import argparse
import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ftft.errors import InterruptedRunError, UserError

# Runtime settings reach a script through the environment, because a change to a parameter would rerun the job.
RUNTIME_VARIABLE = "FTFT_RUNTIME"


class Job:
    """Inputs, outputs and parameters of one job.

    Attributes:
        input, output, params, wildcards: by name, as attributes.
        threads: CPU cores.
        gpus: number of GPUs that the job was given.
        log: log file, or None.
        runtime: what reruns nothing: ``data_dir``, the config's ``runtime``, the ``cores`` that jobs share, and the
            ``gpus`` of each model.
    """

    def __init__(self, snakemake: Any = None) -> None:
        source = snakemake if snakemake is not None else _from_command_line()
        self.input, self.output = source.input, source.output
        self.params, self.wildcards = source.params, source.wildcards
        self.threads: int = source.threads
        self.gpus = int(getattr(source.resources, "gpu", 0))
        self.log: str | None = source.log[0] if source.log else None
        self.runtime: dict[str, Any] = json.loads(os.environ.get(RUNTIME_VARIABLE, "{}"))


def run(main: Callable[[Job], None], snakemake: Any = None) -> None:
    """Call ``main`` with the job, reporting to the terminal and the job's log file."""
    job = Job(snakemake)
    if job.log:
        Path(job.log).parent.mkdir(parents=True, exist_ok=True)
        Path(job.log).write_text("", encoding="utf-8")
    with reporting(job.log):
        main(job)


@contextmanager
def reporting(log: str | None, level: int = logging.INFO) -> Iterator[None]:
    """Log to the terminal and the end of the file ``log``; turn what the user can mend into one line and status 1."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log:
        handlers.append(logging.FileHandler(log, encoding="utf-8"))
    logging.basicConfig(
        level=level,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
        force=True,
    )
    for noisy in ("httpx", "filelock", "datasets", "accelerate", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield
    except (UserError, InterruptedRunError) as failure:
        logging.error("%s", failure)
        sys.exit(1)
    except OSError as failure:
        if failure.errno != errno.ENOSPC:
            raise
        logging.error("the disk is full (%s): make room and run again; finished results are kept", failure.filename)
        sys.exit(1)


def _from_command_line() -> SimpleNamespace:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__,
        epilog="Each NAME=VALUE is as in the rule of the same name; a VALUE may be JSON. "
        f"Runtime settings: JSON in {RUNTIME_VARIABLE}.",
    )
    for kind in ("input", "output", "params", "wildcards"):
        parser.add_argument(f"--{kind}", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--gpus", type=int, default=0)
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
            sys.exit(f"expected NAME=VALUE, found {word!r}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found
