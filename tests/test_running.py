"""Runs and jobs as real processes that are really killed."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ftft.jobs import running

RUN = """
import subprocess, sys
from pathlib import Path
from ftft.jobs import running
folder = Path(sys.argv[1])
running.hold(folder, (folder / "locks").glob("*.lock"))
job = subprocess.Popen([sys.executable, "-c", sys.argv[2]])
print(job.pid, flush=True)
job.wait()
"""
JOB = """
import time
from pathlib import Path
from ftft.jobs import running
running.end_with_run()
Path("started").touch()
time.sleep(60)
"""
# A training is asked to stop, and takes its time to save.
SLOW = """
import signal, sys
def save(*_):
    time.sleep(1)
    Path("saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Snakemake's folder with the locks of a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(running.VARIABLE, raising=False)
    lock(tmp_path)
    return tmp_path


def lock(folder: Path) -> None:
    (folder / "locks").mkdir(exist_ok=True)
    for kind in ("input", "output"):
        (folder / f"locks/0.{kind}.lock").write_text("results/a\nresults/b\n")


def locks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "locks").iterdir())


def start(folder: Path, job: str = JOB) -> tuple[subprocess.Popen, int]:
    """Begin a run with one job; returns it, and the job's process once it is at work."""
    environment = os.environ | {"PYTHONPATH": str(Path(running.__file__).parents[2])}
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), job], env=environment, cwd=folder, stdout=subprocess.PIPE, text=True
    )
    with run.stdout as out:
        job = int(out.readline())
    wait_until((folder / "started").exists)
    return run, job


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Ours to wait for no more: what has ended may stay as an entry until somebody else has asked for it.
    return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text() if Path("/proc/self").exists() else True


def held(folder: Path) -> bool:
    """Whether some process has the lock of the folder."""
    with (folder / running.NAME).open("r+") as lock:
        return not running._take(lock.fileno(), fcntl.LOCK_EX)


def kill(run: subprocess.Popen) -> None:
    run.kill()
    run.wait()


def test_the_jobs_of_a_killed_run_end_and_its_locks_are_removed(folder):
    run, job = start(folder)
    kill(run)
    assert locks(folder) == ["0.input.lock", "0.output.lock"]
    wait_until(lambda: not lives(job))
    assert running.forget_killed(folder)
    assert locks(folder) == []
    assert not running.forget_killed(folder)


def test_the_locks_of_a_run_that_lives_stay(folder):
    run, job = start(folder)
    begun = time.monotonic()
    assert not running.forget_killed(folder)
    assert time.monotonic() - begun < 5  # who starts Snakemake twice is told at once
    assert locks(folder) == ["0.input.lock", "0.output.lock"]
    assert lives(job)
    os.kill(job, signal.SIGKILL)
    run.wait()


def test_locks_stay_until_the_jobs_of_a_killed_run_have_ended(folder):
    """Two processes must never write the same files: the second run waits for what the first has left."""
    run, job = start(folder, JOB.replace("running.end_with_run()", f"{SLOW}running.end_with_run()"))
    kill(run)
    wait_until(lambda: held(folder))  # by the job, which waits for the lock until the system wakes it
    assert running.forget_killed(folder)
    assert (folder / "saved").exists()
    assert not lives(job)


def test_locks_of_others_stay(folder):
    """Of a Snakemake without FTFT, or of a machine that shares the file system."""
    run, _ = start(folder)
    (folder / "locks/1.output.lock").write_text("results/c\n")
    (folder / "locks/2.output.lock").write_text(f"results/d\n{running._MARK}another-machine\n")
    kill(run)
    assert running.forget_killed(folder)
    assert locks(folder) == ["1.output.lock", "2.output.lock"]
    assert not running.forget_killed(folder)


def test_a_job_whose_run_was_replaced_while_it_started_ends(folder):
    running.hold(folder, [])
    of = json.loads(os.environ[running.VARIABLE])
    environment = os.environ | {
        running.VARIABLE: json.dumps(of | {"run": "1 1"}),
        "PYTHONPATH": str(Path(running.__file__).parents[2]),
    }
    done = subprocess.run([sys.executable, "-c", JOB], env=environment, cwd=folder, check=False, timeout=30)
    assert done.returncode == -signal.SIGTERM


def test_a_process_that_does_not_stop_when_asked_ends_a_little_later():
    code = (
        "import signal, time\nfrom ftft.jobs import running\nrunning.GRACE = 0.2\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nrunning.end_after(lambda: None)\ntime.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(running.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=30)
    assert done.returncode == 1


def test_where_locks_keep_nobody_away_nothing_is_built_on_them(folder, monkeypatch):
    monkeypatch.setattr(running.fcntl, "flock", lambda *_: None)
    running.hold(folder, (folder / "locks").glob("*.lock"))
    assert running.VARIABLE not in os.environ
    assert not running.forget_killed(folder)
    assert locks(folder) == ["0.input.lock", "0.output.lock"]


def test_a_second_run_at_once_goes_without(folder):
    """Snakemake allows it where no files are shared; the first one's jobs are still the first one's."""
    other = os.open(folder / running.NAME, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    running.hold(folder, (folder / "locks").glob("*.lock"))
    assert running.VARIABLE not in os.environ
    assert "FTFT" not in (folder / "locks/0.input.lock").read_text()
    os.close(other)


def test_by_hand_a_job_depends_on_nothing(monkeypatch):
    monkeypatch.delenv(running.VARIABLE, raising=False)
    running.end_with_run()
    monkeypatch.setenv(running.VARIABLE, json.dumps({"path": "/nowhere/ftft.lock", "run": "1 1"}))
    running.end_with_run()
    time.sleep(0.2)  # it would have been asked to stop by now


@pytest.fixture(autouse=True)
def let_go():
    yield
    while running._held:
        os.close(running._held.pop())
    os.environ.pop(running.VARIABLE, None)
