"""Jobs end with the process that started them, and the locks that a killed Snakemake leaves are removed.

Snakemake's own locks are files, which stay when it is killed, and so do its jobs. Here the process holds a lock of the
operating system's, which ends with it however it ends.
"""

import fcntl
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

log = logging.getLogger(__name__)

NAME = "ftft.lock"
# Names that file to jobs, and the run that they are of.
VARIABLE = "FTFT_RUN"
# Seconds that a job gets to save its state once nobody waits for it.
GRACE = 10.0
MOMENT = 0.5  # seconds in which the system wakes those who wait for a lock

_MARK = "# of a run of FTFT on "
_held: list[int] = []


def end_after(event: Callable[[], object]) -> None:
    """Ask this process to stop when ``event``, called in a thread, returns; after ``GRACE`` seconds end it."""

    def watch() -> None:
        event()
        log.warning("the process that started this one is gone, so it ends too")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def hold(folder: Path, locks: Iterable[str | os.PathLike[str]]) -> None:
    """Hold the lock of a folder for as long as this process lives, and let the jobs that it starts end with it.

    Where the file system has no such locks, or another run holds it, all is as Snakemake leaves it.

    Args:
        folder: Snakemake's folder ``.snakemake``.
        locks: the lock files of this run in it; each gets a line that says so.
    """
    while _held:  # what an earlier run of this process held
        os.close(_held.pop())
    os.environ.pop(VARIABLE, None)
    path = folder.absolute() / NAME
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return
    if not _alone(lock) or not _respected(path):
        os.close(lock)
        return
    _held.append(lock)
    run = f"{os.getpid()} {time.time_ns()}"
    os.truncate(lock, 0)
    os.pwrite(lock, run.encode(), 0)
    for file in locks:
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(f"{_MARK}{socket.gethostname()}\n")
    os.environ[VARIABLE] = json.dumps({"path": str(path), "run": run})


def end_with_run() -> None:
    """Let this process, a job, end when the run that it is of is gone; without one, do nothing."""
    of = json.loads(os.environ.get(VARIABLE, "null"))
    try:
        lock = os.open(of["path"], os.O_RDONLY) if of else None
    except OSError:
        lock = None
    if lock is None:
        return

    def gone() -> None:
        # Another run may have begun while this process was starting. The lock, once had, is kept: who comes next waits.
        if os.pread(lock, 100, 0).decode() == of["run"]:
            fcntl.flock(lock, fcntl.LOCK_SH)

    end_after(gone)


def forget_killed(folder: Path) -> bool:
    """Remove the locks of a run that was killed on this machine, once its jobs have ended; those of others stay.

    Args:
        folder: Snakemake's folder ``.snakemake``.

    Returns:
        whether there were any.
    """
    if not _marked(folder):
        return False
    try:
        lock = os.open(folder / NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        time.sleep(MOMENT)  # or the lock would be had before the jobs have it that wait for their run to be gone
        # A process that begins in the same moment waits here, and then finds none or those of a run that lives.
        found = _marked(folder) if _alone(lock) else []
        for file in found:
            file.unlink(missing_ok=True)
        return bool(found)
    except OSError:
        return False
    finally:
        os.close(lock)


def _marked(folder: Path) -> list[Path]:
    mark = f"{_MARK}{socket.gethostname()}"
    return [file for file in (folder / "locks").glob("*.lock") if _last_line(file) == mark]


def _last_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\n").rpartition("\n")[2]
    except (OSError, ValueError):
        return ""


def _alone(lock: int) -> bool:
    """Take the lock for this process alone, waiting for jobs whose run is gone, but not for a run that lives."""
    give_up = time.monotonic() + 2 * GRACE
    while not _take(lock, fcntl.LOCK_EX):
        if not _take(lock, fcntl.LOCK_SH) or time.monotonic() > give_up:
            return False
        time.sleep(0.2)
    return True


def _take(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _respected(path: Path) -> bool:
    """Whether a lock that is held keeps others away: there are file systems that grant any."""
    other = os.open(path, os.O_RDONLY)
    try:
        return not _take(other, fcntl.LOCK_SH)
    finally:
        os.close(other)
