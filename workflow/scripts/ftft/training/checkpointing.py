"""Files of states to resume from, which survive: written whole, verified when read, the newest two kept."""

import hashlib
import io
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from ftft.core.errors import UserError, reason

log = logging.getLogger(__name__)

KEEP = 2


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state of ``step`` and delete all others but the ``KEEP - 1`` before it.

    The file takes its name, which carries the checksum of its content, only once it is safely on disk. A write that
    fails (a full disk) leaves the older files as they are.
    """
    _check(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".writing"
    try:
        with _Writer(temporary) as file:
            torch.save(state, file)
            if file.failure is not None:
                raise file.failure
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"step-{step:08d}-{file.digest.hexdigest()[:16]}.pt"
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    # Whatever claims a later step is damaged or of another run: this run would have gone on from it.
    found = _newest_first(folder)
    kept = [other for other in found if other.name <= path.name][:KEEP]
    for other in set(found) - set(kept):
        shutil.rmtree(other) if other.is_dir() else other.unlink()
    return path


def load(folder: Path, fingerprint: str, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The newest state in ``folder`` that is undamaged and belongs to the run ``fingerprint``, or None."""
    _check(folder)
    for path in _newest_first(folder):
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as failure:
            log.warning("the state %s cannot be read (%s); falling back to the one before", path.name, reason(failure))
            continue
        if digest[:16] != path.stem.rsplit("-", 1)[1]:
            log.warning("the state %s is damaged; falling back to the one before", path.name)
            continue
        try:
            with open(path, "rb") as file:
                state = torch.load(file, map_location=device, weights_only=True)
            of_this_run = state["fingerprint"] == fingerprint
        except Exception:  # torch raises all kinds of things, with advice that is of no use here
            log.warning("%s is no state; falling back to the one before", path.name)
            continue
        if of_this_run:
            return state
        log.info("the state %s is of other settings, data or code, and is not used", path.name)
    return None


def remove(folder: Path) -> None:
    """Delete the states of a run that has ended."""
    shutil.rmtree(folder, ignore_errors=True)


class _Writer(io.BufferedWriter):
    """A file that knows the checksum of what is written into it.

    A state is as large as all that a training remembers, so it is never made in memory first. PyTorch would exchange
    what a write raises for an error of its own; ``failure`` keeps it instead, and no more is written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self.digest = hashlib.sha256()
        self.failure: BaseException | None = None

    def write(self, data: Any, /) -> int:
        self.digest.update(data)
        try:
            if self.failure is None:
                super().write(data)
        except BaseException as failure:
            self.failure = failure
        return len(data)


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder, and states to resume from belong there: delete it and run again")


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if re.fullmatch(r"step-\d{8}-[0-9a-f]{16}\.pt", p.name)), reverse=True)
