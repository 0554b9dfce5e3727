"""A finished run of the small experiment, made once for all tests."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from workflow.harness import snakemake, write_experiment


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Path:
    """The small experiment, run to the end; ``terminal.txt`` is what it said. Tests that change something copy it."""
    # Processes that run tests side by side have folders of their own in a common one.
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "results/topics/report.html").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done = snakemake(write_experiment(folder))
            assert done.returncode == 0, done.stdout + done.stderr
            (folder / "terminal.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of the finished run, to change."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"
