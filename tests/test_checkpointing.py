"""A state is there whole or not at all, and a damaged or foreign one is passed over."""

import errno
import hashlib
import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ftft.core.errors import UserError
from ftft.training import checkpointing

SCRIPTS = Path(checkpointing.__file__).parents[2]


def state(step: int, fingerprint: str = "mine") -> dict:
    return {"fingerprint": fingerprint, "step": step, "model": {"weight": torch.full((4, 4), float(step))}, "best": {}}


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class FullFile(io.FileIO):
    """A file on a disk that is full after 100 bytes."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_round_trip(tmp_path):
    folder = tmp_path / "new" / "state"
    assert checkpointing.load(folder, "mine") is None
    path = checkpointing.save(folder, 3, state(3))
    assert names(folder) == [path.name]
    found = checkpointing.load(folder, "mine")
    assert found is not None
    assert torch.equal(found.pop("model")["weight"], torch.full((4, 4), 3.0))
    assert found == {"fingerprint": "mine", "step": 3, "best": {}}


def test_a_state_lies_in_memory_once(tmp_path):
    """Saving it and reading it back take no more than it has, in a process of its own, whose peak says so."""
    script = f"""
import torch
from pathlib import Path
from ftft.compute.cost import peak_memory_mb
from ftft.training import checkpointing
state = {{"fingerprint": "mine", "model": torch.ones(100_000_000)}}
before = peak_memory_mb()
checkpointing.save(Path({str(tmp_path)!r}), 1, state)
saved = peak_memory_mb()
del state
found = checkpointing.load(Path({str(tmp_path)!r}), "mine")
assert found["model"].sum() == 100_000_000
print(saved - before, peak_memory_mb() - before)
"""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    saving, both = map(float, ran.stdout.split())
    assert saving < 40
    assert both < 40


def test_newest_two_are_kept(tmp_path):
    paths = [checkpointing.save(tmp_path, step, state(step)) for step in (2, 9, 10, 100)]
    assert names(tmp_path) == sorted(path.name for path in paths[2:])
    assert checkpointing.load(tmp_path, "mine")["step"] == 100


def test_truncated_file_falls_back_to_the_one_before(tmp_path, caplog):
    checkpointing.save(tmp_path, 1, state(1))
    newest = checkpointing.save(tmp_path, 2, state(2))
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        assert checkpointing.load(tmp_path, "mine")["step"] == 1
    assert f"the state {newest.name} is damaged" in caplog.text


@pytest.mark.parametrize("position", [0, 0.5, -1])
def test_flipped_bit_falls_back_to_the_one_before(tmp_path, position):
    checkpointing.save(tmp_path, 1, state(1))
    newest = checkpointing.save(tmp_path, 2, state(2))
    content = bytearray(newest.read_bytes())
    content[int(position * len(content)) if position == 0.5 else position] ^= 1
    newest.write_bytes(content)
    assert checkpointing.load(tmp_path, "mine")["step"] == 1


def test_what_is_no_state_falls_back_to_the_one_before(tmp_path, caplog):
    checkpointing.save(tmp_path, 1, state(1))
    for step, content in ((2, b"not written by torch"), (3, None)):
        digest = hashlib.sha256(content or b"").hexdigest()[:16]
        path = tmp_path / f"step-{step:08d}-{digest}.pt"
        path.mkdir() if content is None else path.write_bytes(content)
    torch.save([1, 2], tmp_path / "list")
    content = (tmp_path / "list").read_bytes()
    (tmp_path / f"step-00000004-{hashlib.sha256(content).hexdigest()[:16]}.pt").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert checkpointing.load(tmp_path, "mine")["step"] == 1
    assert caplog.text.count("falling back to the one before") == len(caplog.records) == 3
    (tmp_path / "list").unlink()
    checkpointing.save(tmp_path, 2, state(2))
    assert {name[:13] for name in names(tmp_path)} <= {"step-00000001", "step-00000002"}


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path):
    (tmp_path / "state").write_text("")
    for call in (
        lambda: checkpointing.load(tmp_path / "state", "mine"),
        lambda: checkpointing.save(tmp_path / "state", 1, {}),
    ):
        with pytest.raises(UserError, match="state is no folder, and states to resume from belong there: delete it"):
            call()


def test_empty_files_only(tmp_path):
    for step in (1, 2):
        checkpointing.save(tmp_path, step, state(step)).write_bytes(b"")
    assert checkpointing.load(tmp_path, "mine") is None


def test_a_state_of_another_run_is_not_used(tmp_path):
    checkpointing.save(tmp_path, 1, state(1, "mine"))
    checkpointing.save(tmp_path, 2, state(2, "other"))
    assert checkpointing.load(tmp_path, "mine")["step"] == 1
    assert checkpointing.load(tmp_path, "third") is None


def test_later_states_of_another_run_do_not_push_out_new_ones(tmp_path):
    """A run of other settings was interrupted at step 900; this one started anew."""
    for step in (800, 900):
        checkpointing.save(tmp_path, step, state(step, "other"))
    checkpointing.save(tmp_path, 1, state(1))
    assert checkpointing.load(tmp_path, "mine")["step"] == 1
    checkpointing.save(tmp_path, 2, state(2))
    assert len(names(tmp_path)) == 2
    assert checkpointing.load(tmp_path, "mine")["step"] == 2


def test_other_files_are_let_be(tmp_path):
    (tmp_path / "step-notes.pt").write_text("mine")
    for step in (1, 2, 3):
        checkpointing.save(tmp_path, step, state(step))
    assert "step-notes.pt" in names(tmp_path)
    assert checkpointing.load(tmp_path, "mine")["step"] == 3


@pytest.mark.parametrize("late", [False, True])
def test_full_disk_leaves_the_older_ones_and_nothing_else(tmp_path, monkeypatch, late):
    for step in (1, 2):
        checkpointing.save(tmp_path, step, state(step))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if late:
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(io, "FileIO", FullFile)
    with pytest.raises(OSError, match="No space left"):
        checkpointing.save(tmp_path, 3, state(3) | {"best": {"dev": torch.ones(10_000)}})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    assert checkpointing.load(tmp_path, "mine")["step"] == 2


def test_remove(tmp_path):
    checkpointing.save(tmp_path / "state", 1, state(1))
    checkpointing.remove(tmp_path / "state")
    checkpointing.remove(tmp_path / "state")
    assert names(tmp_path) == []
