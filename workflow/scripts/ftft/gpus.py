"""Which GPUs of a machine a job gets: never two jobs on one.

Snakemake counts GPUs but assigns none, and every program that sees all of them takes the first. So a job locks a file
per GPU, and the system gives the lock back however the job ends.
"""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ftft.errors import UserError

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
# On every machine the same for all users; jobs of one machine have to meet here.
LOCKS = Path(tempfile.gettempdir()) / "ftft-gpus"


@dataclass(frozen=True)
class Assigned:
    """The GPUs of a job.

    Attributes:
        devices: as in ``CUDA_VISIBLE_DEVICES``.
        locks: open files that keep others away; a child process that inherits them keeps them too.
    """

    devices: tuple[str, ...] = ()
    locks: tuple[int, ...] = ()


@contextmanager
def assigned(gpus: int, *, device: str = "auto") -> Iterator[Assigned]:
    """Let this process see GPUs that no other job uses, waiting for them if need be.

    A ``CUDA_VISIBLE_DEVICES`` that is already set says which may be chosen from; from a scheduler that gave the job
    just what it asked for, it is taken as it is. To be entered before anything is computed on a GPU.

    Args:
        gpus: how many the job asks for. With 0, it still gets one to itself where there are any, unless ``device`` is
            ``cpu``.
        device: see ``config.Runtime``.

    Raises:
        UserError: the machine has fewer than are asked for.
    """
    candidates = _candidates()
    wanted = gpus if device == "cpu" else max(gpus, 1)
    if not candidates or not wanted:
        yield Assigned()
        return
    if len(candidates) < wanted:
        raise UserError(
            f"the job asks for {wanted} GPUs, but sees {len(candidates)} ({', '.join(candidates)}): set resources: "
            f"{{gpu: {len(candidates)}}} for the model, or make more visible"
        )
    granted = len(candidates) == wanted and _scheduled()
    taken = Assigned(tuple(candidates)) if granted else _take(candidates, wanted)
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = ",".join(taken.devices)
    log.info("computing on GPU %s", ", ".join(taken.devices))
    try:
        yield taken
    finally:
        _set_visible(before)
        for lock in taken.locks:
            os.close(lock)


def _scheduled() -> bool:
    return "SLURM_JOB_ID" in os.environ


def _candidates() -> list[str]:
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    # A job that was sent by a scheduler and given no GPU has none to choose from, whatever the node has.
    return [] if _scheduled() else [str(index) for index in range(torch.cuda.device_count())]


def _set_visible(value: str | None) -> None:
    if value is None:
        os.environ.pop(VISIBLE, None)
    else:
        os.environ[VISIBLE] = value


def _take(candidates: list[str], wanted: int) -> Assigned:
    """Lock ``wanted`` of the candidates, the first ones that are free; waits until there are so many at once."""
    waiting = False
    while True:
        found: dict[str, int] = {}
        for name in candidates:
            lock = _lock(name) if len(found) < wanted else None
            if lock is not None:
                found[name] = lock
        if len(found) == wanted:
            return Assigned(tuple(found), tuple(found.values()))
        for lock in found.values():  # holding some while waiting for others could make two jobs wait for each other
            os.close(lock)
        if not waiting:
            log.info("waiting for %d of the GPUs %s: other jobs use them", wanted, ", ".join(candidates))
            waiting = True
        time.sleep(0.5)


def _lock(name: str) -> int | None:
    """Lock a GPU; None if somebody else has it."""
    if not LOCKS.is_dir():
        LOCKS.mkdir(exist_ok=True)
        LOCKS.chmod(0o777)  # other users of the machine lock files here too
    path = LOCKS / f"{name.replace('/', '_')}.lock"
    lock = os.open(path, os.O_RDONLY if path.exists() else os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
