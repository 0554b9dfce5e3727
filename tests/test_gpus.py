"""The choice of GPUs, with devices that are only names and jobs that are real processes."""

import logging
import os
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftft.core.errors import UserError
from ftft.jobs import gpus

JOB = """
import sys, time
from ftft.jobs import gpus
gpus.torch.cuda.device_count = lambda: 8
with gpus.assigned(float(sys.argv[1])) as assigned:
    print(",".join(assigned.devices), time.monotonic(), flush=True)
    sys.stdin.readline()
print(time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpus.tempfile, "tempdir", None)  # or it would go on with what it found first
    monkeypatch.setattr(gpus.torch.cuda, "device_count", lambda: 8)
    monkeypatch.delenv(gpus.SHARED, raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)


def start(visible: str, wanted: float = 1) -> subprocess.Popen:
    environment = os.environ | {gpus.VISIBLE: visible, "PYTHONPATH": str(Path(gpus.__file__).parents[2])}
    command = [sys.executable, "-c", JOB, str(wanted)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def finish(job: subprocess.Popen) -> float:
    """Let a job end; returns when it gave its devices back."""
    out, _ = job.communicate("\n")
    assert job.returncode == 0
    return float(out)


def test_jobs_get_devices_of_their_own_and_wait_for_one_that_is_free():
    jobs = [start("0,1") for _ in range(2)]
    devices = [job.stdout.readline().split()[0] for job in jobs]
    assert sorted(devices) == ["0", "1"]
    third = start("0,1")
    freed = finish(jobs[0])
    device, begun = third.stdout.readline().split()
    assert device == devices[0]
    assert float(begun) > freed - 0.1  # the job prints after it has let go
    finish(third)
    finish(jobs[1])


def test_a_killed_job_frees_its_device():
    first = start("5")
    assert first.stdout.readline().split()[0] == "5"
    second = start("5")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert second.stdout.readline().split()[0] == "5"
    finish(second)


def test_a_job_takes_several_and_never_holds_some_while_it_waits():
    one = start("0,1,2")
    assert one.stdout.readline().split()[0] == "0"
    three = start("0,1,2", wanted=3)
    two = start("0,1,2", wanted=2)
    assert two.stdout.readline().split()[0] == "1,2"
    finish(two)
    finish(one)
    assert three.stdout.readline().split()[0] == "0,1,2"
    finish(three)


def test_four_quarters_share_a_device_and_the_fifth_waits():
    jobs = [start("0", 0.25) for _ in range(4)]
    assert {job.stdout.readline().split()[0] for job in jobs} == {"0"}
    fifth = start("0", 0.25)
    freed = finish(jobs[2])
    device, begun = fifth.stdout.readline().split()
    assert (device, float(begun) > freed - 0.1) == ("0", True)
    for job in (*jobs[:2], jobs[3], fifth):
        finish(job)


def test_jobs_with_a_share_spread_over_the_devices_and_leave_no_room_for_a_whole_one():
    halves = [start("0,1", 0.5) for _ in range(2)]
    assert sorted(job.stdout.readline().split()[0] for job in halves) == ["0", "1"]
    whole = start("0,1", 1)
    freed = finish(halves[0])
    assert float(whole.stdout.readline().split()[1]) > freed - 0.1
    finish(halves[1])
    finish(whole)


def test_never_more_on_a_device_than_its_shares_and_a_killed_job_frees_its_own():
    """Many jobs of every size at once: what is held at any moment fits, and all get their turn."""
    jobs = [(share, start("0,1", share)) for share in (0.5, 0.125, 1, 0.25, 0.5, 0.25, 0.125, 0.25)]
    held: list[tuple[float, float, str, float]] = []
    waiting = {job.stdout.fileno(): (share, job) for share, job in jobs}
    kill = True
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], 60)
        assert ready, "nobody gets a device any more"
        for pipe in ready:
            share, job = waiting.pop(pipe)
            device, begun = job.stdout.readline().split()
            if kill:
                job.kill()
                job.communicate()
                kill = False
            else:
                held.append((float(begun), finish(job), device, share))
    for moment, _, on, _ in held:
        assert sum(share for begun, ended, device, share in held if device == on and begun <= moment < ended) <= 1


def test_a_job_with_a_share_gets_no_more_of_the_memory(monkeypatch):
    limits = []
    monkeypatch.setattr(gpus.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpus.torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=16e9))
    monkeypatch.setattr(gpus.torch.cuda, "set_per_process_memory_fraction", limits.append)
    with gpus.assigned(0.25):
        pass
    with gpus.assigned(1), gpus.assigned(0.25, device="cpu"):
        pass
    with gpus.assigned(0.125):
        pass
    # What each process takes beside has room too.
    assert limits == [(4_000 - gpus.OUTSIDE) / 16_000, (2_000 - gpus.OUTSIDE) / 16_000]


def test_where_the_memory_cannot_be_limited_the_share_and_what_is_visible_are_given_back(monkeypatch):
    def refuse(share):
        raise RuntimeError("CUDA error: device busy")

    monkeypatch.setattr(gpus.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpus.torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=1e9))
    monkeypatch.setattr(gpus.torch.cuda, "set_per_process_memory_fraction", refuse)
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    with pytest.raises(RuntimeError, match="device busy"), gpus.assigned(0.5):
        pass
    assert os.environ[gpus.VISIBLE] == "0,1"
    whole = start("0")  # it would wait for ever for a device of which somebody holds a share
    assert select.select([whole.stdout], [], [], 60)[0]
    assert whole.stdout.readline().split()[0] == "0"
    finish(whole)


def test_the_process_sees_its_devices_only_and_afterwards_what_it_saw_before(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "3,4")
    with gpus.assigned(1) as outer:
        assert os.environ[gpus.VISIBLE] == "3"
        monkeypatch.setenv(gpus.VISIBLE, "3,4")  # another job of the same shell
        with gpus.assigned(1) as inner:
            assert os.environ[gpus.VISIBLE] == "4"
    assert (outer.devices, inner.devices) == (("3",), ("4",))
    assert os.environ[gpus.VISIBLE] == "3,4"


def test_allocations_of_a_node_do_not_wait_for_each_other(monkeypatch):
    """Each of them may call its device 0."""
    monkeypatch.setenv(gpus.VISIBLE, "0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpus.assigned(1) as one:
        monkeypatch.setenv("SLURM_JOB_ID", "8")
        with gpus.assigned(1) as other:
            assert one.devices == other.devices == ("0",)


def test_jobs_inside_an_allocation_of_one_gpu_take_turns(monkeypatch):
    """The second waits, until it is given up here."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(gpus.VISIBLE, "0")

    def waiting(seconds):
        raise TimeoutError

    monkeypatch.setattr(gpus.time, "sleep", waiting)
    with gpus.assigned(1), pytest.raises(TimeoutError), gpus.assigned(1):
        pass
    with gpus.assigned(1) as again:
        assert again.devices == ("0",)


def test_a_device_is_counted_when_no_other_is_visible_any_more(monkeypatch):
    """The driver may read what is visible to count, as it does for parts of a GPU (MIG), and it reads that once."""
    seen = []
    monkeypatch.setenv(gpus.VISIBLE, "MIG-a,MIG-b")
    monkeypatch.setattr(gpus.torch.cuda, "device_count", lambda: seen.append(os.environ[gpus.VISIBLE]) or 1)
    with gpus.assigned(1):
        monkeypatch.setenv(gpus.VISIBLE, "MIG-a,MIG-b")
        with gpus.assigned(1):
            pass
    assert seen == ["MIG-a", "MIG-b"]


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
    for hidden in ("", "-1", "NoDevFiles"):  # on purpose, or as SLURM says it
        monkeypatch.setenv(gpus.VISIBLE, hidden)
        with gpus.assigned(0) as assigned:
            assert assigned.devices == ()


def test_a_gpu_that_is_named_twice_is_one(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "0,0,1,-1,2")
    with gpus.assigned(2) as assigned:
        assert assigned.devices == ("0", "1")
    with pytest.raises(UserError, match=r"asks for 3 GPUs, but sees 2 \(0, 1\)"), gpus.assigned(3):
        pass


def test_more_than_there_are_is_one_line(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    with (
        pytest.raises(UserError, match=r"asks for 3 GPUs, but sees 2 \(0, 1\): set resources: {gpu: 2}"),
        gpus.assigned(3),
    ):
        pass


@pytest.mark.parametrize(("visible", "there"), [(None, 0), ("", 0), ("0,1", 0), ("0,1", 1)])
def test_several_where_there_are_fewer_are_refused(monkeypatch, visible, there):
    """Two processes on one CPU or GPU are what nobody wants."""
    monkeypatch.setattr(gpus.torch.cuda, "device_count", lambda: there)
    if visible is not None:
        monkeypatch.setenv(gpus.VISIBLE, visible)
    with (
        pytest.raises(UserError, match=rf"asks for 2 GPUs, but PyTorch finds .* set resources: {{gpu: {there}}}"),
        gpus.assigned(2),
    ):
        pass


def test_one_where_there_is_none_is_a_warning_and_cpu_on_purpose_is_none(monkeypatch, caplog):
    monkeypatch.setattr(gpus.torch.cuda, "device_count", lambda: 0)
    with gpus.assigned(1) as assigned:
        assert assigned == gpus.Assigned()
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "computing on the CPU" in warning.getMessage()
    caplog.clear()
    for wanted, device in ((0, "auto"), (1, "cpu"), (2, "cpu")):
        with gpus.assigned(wanted, device=device) as assigned:
            assert assigned == gpus.Assigned()
    assert not caplog.records


@pytest.fixture
def mine(tmp_path) -> Path:
    return tmp_path / f"ftft-gpus-{os.getuid()}"


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_locks_lie_in_a_folder_that_only_their_user_can_enter(monkeypatch, mine, mask):
    monkeypatch.setenv(gpus.VISIBLE, "0")
    before = os.umask(mask)
    try:
        with gpus.assigned(1):
            assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    mine.chmod(0o777)  # somebody's slip is mended
    with gpus.assigned(1):
        assert stat.S_IMODE(mine.stat().st_mode) == 0o700


def assign() -> None:
    with gpus.assigned(1):
        pass


def test_a_planted_link_in_place_of_the_folder_is_not_followed(monkeypatch, tmp_path, mine):
    monkeypatch.setenv(gpus.VISIBLE, "0")
    target = tmp_path / "target"
    target.mkdir(0o755)
    mine.symlink_to(target)
    with pytest.raises(UserError, match=f"{mine}.* cannot be used"):
        assign()
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert not list(target.iterdir())


def test_a_file_in_place_of_the_folder_is_one_line(monkeypatch, mine):
    monkeypatch.setenv(gpus.VISIBLE, "0")
    mine.write_text("")
    with pytest.raises(UserError, match=f"cannot be used.* {gpus.SHARED}"):
        assign()


def test_a_folder_of_somebody_else_is_not_used(monkeypatch, mine):
    monkeypatch.setenv(gpus.VISIBLE, "0")
    mine.mkdir()
    status = os.stat_result([*os.stat(mine)[:4], os.getuid() + 1, *os.stat(mine)[5:]])
    monkeypatch.setattr(gpus.os, "fstat", lambda _: status)
    with pytest.raises(UserError, match="belongs to somebody else"):
        assign()


def test_a_planted_pipe_or_link_in_place_of_a_lock_neither_hangs_nor_is_followed(monkeypatch, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv(gpus.SHARED, str(shared))
    monkeypatch.setenv(gpus.VISIBLE, "0")
    os.mkfifo(shared / "0.0.lock")
    with pytest.raises(UserError, match=r"0\.0\.lock', the lock of a GPU, is no ordinary file"):
        assign()
    (shared / "0.0.lock").unlink()
    (shared / "0.0.lock").symlink_to(tmp_path / "made")
    with pytest.raises(UserError, match=r"0\.0\.lock', the lock of a GPU: .*; delete it"):
        assign()
    assert not (tmp_path / "made").exists()


def test_users_meet_in_a_folder_that_a_variable_names(monkeypatch, tmp_path):
    shared = tmp_path / "shared"
    monkeypatch.setenv(gpus.SHARED, str(shared))
    monkeypatch.setenv(gpus.VISIBLE, "0")
    with pytest.raises(UserError, match=f"shared.* cannot be used .*: make it, .* {gpus.SHARED}"):
        assign()
    shared.mkdir(0o755)
    before = os.umask(0o077)
    try:
        assign()
    finally:
        os.umask(before)
    assert stat.S_IMODE((shared / "0.0.lock").stat().st_mode) == 0o644  # or the next user could not lock it
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
