"""Which GPUs of a machine a job gets, or which share of one: never more jobs on a GPU than there is room for.

Snakemake counts GPUs but assigns none, and every program that sees all of them takes the first. So each GPU has a few
files, its slots; a job locks all of them, or as many as its share, and the system gives the locks back however the job
ends.
"""

import fcntl
import logging
import os
import platform
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product, takewhile
from pathlib import Path

import torch

from ftft.core.errors import UserError, named, shown

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
# A folder in which the jobs of several users meet; without it, those of one user meet in a folder of theirs.
SHARED = "FTFT_GPU_LOCKS"
SLOTS = 8  # that each GPU has; one of them is the smallest share
# About so many MB of a GPU a process takes beside what PyTorch gives out: the driver's context, libraries, recordings.
OUTSIDE = 700


@dataclass(frozen=True)
class Assigned:
    """The GPUs of a job, or the one of which it has a share.

    Attributes:
        devices: as in ``CUDA_VISIBLE_DEVICES``.
        locks: open files that keep others away; a child process that inherits them keeps them too.
    """

    devices: tuple[str, ...] = ()
    locks: tuple[int, ...] = ()


@contextmanager
def assigned(gpus: float, *, device: str = "auto") -> Iterator[Assigned]:
    """Let this process see GPUs that no other job uses, or one with room for its share, waiting for them if need be.

    A ``CUDA_VISIBLE_DEVICES`` that is already set says which may be chosen from. Inside an allocation of SLURM the jobs
    of that allocation alone keep out of each other's way. To be entered before anything is computed on a GPU.

    A job with a share gets no more than that share of the GPU's memory, so that no job takes what another needs.

    Args:
        gpus: how many the job asks for, or a share of one: a half, a quarter or an eighth. With 0, it still gets one
            to itself where there are any, unless ``device`` is ``cpu``.
        device: see ``config.Runtime``.

    Raises:
        UserError: the machine has fewer than are asked for, or the folder of the locks is not safe.
    """
    candidates = _candidates()
    share = gpus if 0 < gpus < 1 else 1.0
    wanted = 0 if device == "cpu" and gpus < 1 else max(int(gpus), 1)
    if candidates and len(candidates) < wanted:
        raise UserError(
            f"the job asks for {wanted} GPUs, but sees {len(candidates)} ({named(candidates)}): set resources: "
            f"{{gpu: {len(candidates)}}} for the model, or make more visible"
        )
    if not candidates or not wanted:
        if device != "cpu":
            _check(gpus, 0)
        yield Assigned()
        return
    taken = _take(candidates, wanted, share)
    before = os.environ.get(VISIBLE)
    try:
        os.environ[VISIBLE] = ",".join(taken.devices)
        # Not earlier: to count them, the driver may read what is visible, and it reads that once.
        if device != "cpu":
            _check(gpus, torch.cuda.device_count())
        if share < 1:
            log.info("computing on GPU %s, with %g of its memory", named(taken.devices), share)
            _limit_memory(share)
        else:
            log.info("computing on GPU %s", named(taken.devices))
        yield taken
    finally:
        _set_visible(before)
        _release(list(taken.locks))


def memory_mb(share: float) -> float:
    """MB that PyTorch can give out in a job with this share of the first GPU, or with all of it."""
    whole = torch.cuda.get_device_properties(0).total_memory / 1e6
    return max(share * whole - OUTSIDE, share * whole / 2)


def _limit_memory(share: float) -> None:
    if torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(0).total_memory / 1e6
        torch.cuda.set_per_process_memory_fraction(memory_mb(share) / whole)


def _check(gpus: float, there: int) -> None:
    """Refuse a job that asks for several GPUs and finds fewer, whose processes would share what there is.

    One process computes the same on a CPU, only slower.
    """
    if gpus > 1 and there < gpus:
        raise UserError(
            f"the job asks for {gpus} GPUs, but PyTorch finds {there or 'none'} here: set resources: {{gpu: {there}}} "
            "for the model, or runtime: {device: cpu} to compute on the CPU"
        )
    if gpus and not there and not torch.backends.mps.is_available():
        log.warning("the job asks for a GPU, but PyTorch finds none here: computing on the CPU")


def _scheduled() -> bool:
    return "SLURM_JOB_ID" in os.environ


def _allocation() -> str:
    """What the names of locks begin with."""
    return f"slurm-{os.environ['SLURM_JOB_ID']}-{platform.node()}.".replace("/", "_") if _scheduled() else ""


def _candidates() -> list[str]:
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        names = dict.fromkeys(name.strip() for name in visible.split(",") if name.strip())
        # CUDA reads as far as a name that is none; these hide the GPUs.
        return list(takewhile(lambda name: not name.startswith("-") and name != "NoDevFiles", names))
    # A job that was sent by a scheduler and given no GPU has none to choose from, whatever the node has.
    return [] if _scheduled() else [str(index) for index in range(torch.cuda.device_count())]


def _set_visible(value: str | None) -> None:
    if value is None:
        os.environ.pop(VISIBLE, None)
    else:
        os.environ[VISIBLE] = value


def _take(candidates: list[str], wanted: int, share: float) -> Assigned:
    """Lock ``share`` of the slots of ``wanted`` candidates; waits until there are so many at once.

    The first that are free, and jobs with a share spread over the GPUs. Inside an allocation of SLURM the locks are
    its own, since each job of a node may call its device 0. A share is a block of slots that starts at a
    multiple of its size, so that what is free does not fall into pieces.
    """
    waiting = False
    size = round(share * SLOTS)
    blocks = [range(start, start + size) for start in range(0, SLOTS, size)]
    with _folder() as folder:
        while True:
            found: dict[str, list[int]] = {}
            for block, name in product(blocks, candidates):
                locks = _lock(name, block, folder) if len(found) < wanted and name not in found else None
                if locks is not None:
                    found[name] = locks
            if len(found) == wanted:
                return Assigned(tuple(found), tuple(lock for locks in found.values() for lock in locks))
            for locks in found.values():  # holding some while waiting for others could make jobs wait for each other
                _release(locks)
            if not waiting:
                what = f"{wanted}" if share == 1 else f"a share of {share:g}"
                log.info("waiting for %s of the GPUs %s: other jobs use them", what, named(candidates))
                waiting = True
            time.sleep(0.5)


@contextmanager
def _folder() -> Iterator[int]:
    """Open the folder of the locks: the shared one where a variable names it, else one that only this user can enter.

    Everybody can write into the folder for temporary files. So what lies there under our name is used only if it is a
    folder of ours, and links are not followed.
    """
    path, shared = _where(), bool(os.environ.get(SHARED))
    try:
        if not shared:
            with suppress(FileExistsError):
                path.mkdir(0o700)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | (0 if shared else os.O_NOFOLLOW))
    except OSError as failure:
        advice = "make it, or name another folder" if shared else "delete it, or name a folder of yours"
        raise UserError(
            f"the folder {shown(str(path), 120)} for the locks of GPUs cannot be used ({failure.strerror}): {advice} "
            f"in the variable {SHARED}"
        ) from None
    try:
        if not shared:
            if os.fstat(folder).st_uid != os.getuid():
                raise UserError(
                    f"the folder {path} for the locks of GPUs belongs to somebody else: name a folder of yours in the "
                    f"variable {SHARED}"
                )
            os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


def _where() -> Path:
    return Path(os.environ.get(SHARED) or Path(tempfile.gettempdir()) / f"ftft-gpus-{os.getuid()}")


def _lock(name: str, slots: range, folder: int) -> list[int] | None:
    """Lock these slots of a GPU; None if somebody else has one of them.

    Slots are taken in ascending order, so that of several jobs that want the same ones, one gets them all.
    """
    locks: list[int] = []
    try:
        for slot in slots:
            lock = _lock_slot(f"{_allocation()}{name.replace('/', '_')}.{slot}.lock", folder)
            if lock is None:
                break
            locks.append(lock)
    finally:
        if len(locks) < len(slots):
            _release(locks)
    return locks if len(locks) == len(slots) else None


def _release(locks: list[int]) -> None:
    for lock in locks:
        os.close(lock)


def _lock_slot(file: str, folder: int) -> int | None:
    """Lock a slot; None if somebody else has it."""
    # Not blocking: what lies there in its place may be a pipe that nobody writes to.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            lock = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
            os.fchmod(lock, 0o644)  # whatever the umask is: in a shared folder others lock it too
        except FileExistsError:
            lock = os.open(file, flags, dir_fd=folder)
        ordinary = stat.S_ISREG(os.fstat(lock).st_mode)
    except OSError as failure:
        raise UserError(
            f"{shown(str(_where() / file), 120)}, the lock of a GPU: {failure.strerror}; delete it"
        ) from None
    if not ordinary:
        os.close(lock)
        raise UserError(f"{shown(str(_where() / file), 120)}, the lock of a GPU, is no ordinary file; delete it")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
