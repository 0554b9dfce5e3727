"""The choice of GPUs, with devices that are only names and jobs that are real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ftft import gpus
from ftft.errors import UserError

JOB = """
import sys, time
from pathlib import Path
from ftft import gpus
gpus.LOCKS = Path(sys.argv[1])
with gpus.assigned(int(sys.argv[2])) as assigned:
    print(",".join(assigned.devices), time.monotonic(), flush=True)
    sys.stdin.readline()
print(time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "LOCKS", tmp_path / "locks")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)


def start(folder: Path, visible: str, wanted: int = 1) -> subprocess.Popen:
    environment = os.environ | {gpus.VISIBLE: visible, "PYTHONPATH": str(Path(gpus.__file__).parents[1])}
    command = [sys.executable, "-c", JOB, str(folder / "locks"), str(wanted)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def finish(job: subprocess.Popen) -> float:
    """Let a job end; returns when it gave its devices back."""
    out, _ = job.communicate("\n")
    assert job.returncode == 0
    return float(out)


def test_jobs_get_devices_of_their_own_and_wait_for_one_that_is_free(tmp_path):
    jobs = [start(tmp_path, "0,1") for _ in range(2)]
    devices = [job.stdout.readline().split()[0] for job in jobs]
    assert sorted(devices) == ["0", "1"]
    third = start(tmp_path, "0,1")
    freed = finish(jobs[0])
    device, begun = third.stdout.readline().split()
    assert device == devices[0]
    assert float(begun) > freed - 0.1  # the job prints after it has let go
    finish(third)
    finish(jobs[1])


def test_a_killed_job_frees_its_device(tmp_path):
    first = start(tmp_path, "5")
    assert first.stdout.readline().split()[0] == "5"
    second = start(tmp_path, "5")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert second.stdout.readline().split()[0] == "5"
    finish(second)


def test_a_job_takes_several_and_never_holds_some_while_it_waits(tmp_path):
    one = start(tmp_path, "0,1,2")
    assert one.stdout.readline().split()[0] == "0"
    three = start(tmp_path, "0,1,2", wanted=3)
    two = start(tmp_path, "0,1,2", wanted=2)
    assert two.stdout.readline().split()[0] == "1,2"
    finish(two)
    finish(one)
    assert three.stdout.readline().split()[0] == "0,1,2"
    finish(three)


def test_the_process_sees_its_devices_only_and_afterwards_what_it_saw_before(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "3,4")
    with gpus.assigned(1) as outer:
        assert os.environ[gpus.VISIBLE] == "3"
        monkeypatch.setenv(gpus.VISIBLE, "3,4")  # another job of the same shell
        with gpus.assigned(1) as inner:
            assert os.environ[gpus.VISIBLE] == "4"
    assert (outer.devices, inner.devices) == (("3",), ("4",))
    assert os.environ[gpus.VISIBLE] == "3,4"


def test_what_a_scheduler_gave_is_taken_as_it_is(monkeypatch):
    """Each job of a node may call its device 0; a lock would make them wait for each other."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(gpus.VISIBLE, "0")
    with gpus.assigned(1) as one, gpus.assigned(1) as other:
        assert one == other == gpus.Assigned(("0",))


def test_jobs_inside_one_allocation_share_it(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    with gpus.assigned(1) as one:
        monkeypatch.setenv(gpus.VISIBLE, "0,1")
        with gpus.assigned(1) as other:
            assert (one.devices, other.devices) == (("0",), ("1",))


def test_a_scheduled_job_without_a_gpu_uses_none(monkeypatch):
    monkeypatch.setattr(gpus.torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpus.assigned(0) as assigned:
        assert assigned.devices == ()


def test_a_job_that_asks_for_none_still_gets_one_to_itself_where_there_are_some(monkeypatch):
    monkeypatch.setattr(gpus.torch.cuda, "device_count", lambda: 2)
    with gpus.assigned(0) as assigned:
        assert assigned.devices == ("0",)
    with gpus.assigned(0, device="cpu") as assigned:
        assert assigned.devices == ()
    monkeypatch.setenv(gpus.VISIBLE, "")  # hidden on purpose
    with gpus.assigned(0) as assigned:
        assert assigned.devices == ()


def test_more_than_there_are_is_one_line(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    with (
        pytest.raises(UserError, match=r"asks for 3 GPUs, but sees 2 \(0, 1\): set resources: {gpu: 2}"),
        gpus.assigned(3),
    ):
        pass
