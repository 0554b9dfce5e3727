"""A training of several processes: real ones, on the CPU, with GPUs that are only names."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import runs
from test_training import files, prepared, settings, train  # noqa: F401

from ftft.jobs import gpus
from ftft.jobs.environment import Environment, Runtime
from ftft.training import launch, loop
from ftft.training.settings import Call

# Long enough that it ends only when it is ended.
RUNNER = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from test_training import Path, files, runs, settings
from ftft.jobs.job import reporting
prepared, folder = Path(sys.argv[2]), Path(sys.argv[3])
cfg, log = settings(micro_batch_size=8, epochs=100_000, evaluate_every=100_000), folder / "job.log"
with reporting(str(log)):
    runs.train_in_two_processes(cfg, files(prepared, folder), log=log, checkpoint_minutes=0.0)
"""


@pytest.fixture
def two(prepared, tmp_path):  # noqa: F811
    """A running training of two processes; gives the process that started them, and their ids."""
    paths = json.dumps([str(Path(__file__).parent), str(Path(loop.__file__).parents[2])])
    parent = subprocess.Popen(
        [sys.executable, "-c", RUNNER, paths, str(prepared), str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    try:
        give_up = time.monotonic() + 300
        while not list(tmp_path.glob("state/step-*")):
            assert parent.poll() is None, parent.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.1)
        children = [int(entry) for entry in children_of(parent.pid)]
        assert len(children) == 2
        yield parent, children
    finally:  # or what began too late would go on for ever
        parent.kill()
        parent.communicate()


def children_of(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def lives(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for the children of a process")


@linux
def test_the_processes_end_with_the_one_that_started_them(two):
    parent, children = two
    parent.kill()
    give_up = time.monotonic() + 15
    while any(map(lives, children)):
        assert time.monotonic() < give_up
        time.sleep(0.1)


@linux
def test_a_signal_reaches_all_and_one_says_so(two, tmp_path):
    parent, children = two
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == 1
    assert errors.count("asked to stop at step") == 1
    assert (tmp_path / "job.log").read_text(encoding="utf-8").count("asked to stop at step") == 1
    assert not any(map(lives, children))


@linux
def test_a_process_that_is_killed_is_named(two):
    parent, children = two
    os.kill(children[1], signal.SIGKILL)
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == 1
    assert "process 1 of 2 was ended by SIGKILL; SIGKILL often means that memory ran out" in errors
    assert "Traceback" not in errors
    assert not any(map(lives, children))


def test_a_run_whose_results_cannot_be_written_keeps_its_state(prepared, tmp_path, caplog):  # noqa: F811
    """The second process has nothing to write; for the first there is a folder where its dev curve belongs."""
    cfg, log = settings(micro_batch_size=8, epochs=5), tmp_path / "job.log"  # it is saved at step 20
    (tmp_path / "metrics.parquet").mkdir()
    with pytest.raises(SystemExit):
        runs.train_in_two_processes(cfg, files(prepared, tmp_path), log=log, checkpoint_minutes=0.0)
    assert "metrics.parquet" in log.read_text(encoding="utf-8")
    assert list(tmp_path.glob("state/step-*"))
    (tmp_path / "metrics.parquet").rmdir()
    with caplog.at_level("INFO"):
        train(prepared, tmp_path, cfg)
    assert "going on from step 20 of 25" in caplog.text
    # A job may still fail while it writes down what it was made from.
    assert list(tmp_path.glob("state/step-*"))
    launch.forget(SimpleNamespace(output={"metrics": tmp_path / "metrics.parquet"}))
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("visible", "wanted", "processes", "threads"), [("", 2, None, 4), ("0,1", 2, 2, 2), ("0,1", 1, None, 4)]
)
def test_there_is_a_process_for_each_gpu_and_one_on_a_cpu(monkeypatch, tmp_path, visible, wanted, processes, threads):
    """`device: cpu` takes an experiment for two GPUs to a machine without."""
    monkeypatch.setenv(gpus.VISIBLE, visible)
    monkeypatch.setenv(gpus.SHARED, str(tmp_path))
    asked: list = []
    monkeypatch.setattr(launch, "_train", lambda call: asked.append((None, call)))
    monkeypatch.setattr(launch, "run_processes", lambda call, number, *, keep: asked.append((number, call)))
    job = SimpleNamespace(
        input={"source": "source/source.json", "train": "train", "dev": []},
        output=dict.fromkeys(("models", "metrics", "cost", "manifest"), "folder/file"),
        params=SimpleNamespace(cfg={"dev": [], "tune": "all"}, code=""),
        wildcards=SimpleNamespace(seed="0"),
        environment=Environment(runtime=Runtime(device="cpu")),
        threads=4,
        gpus=wanted,
        log=None,
    )
    launch.train(job, "a training")
    [(number, call)] = asked
    assert (number, call.threads) == (processes, threads)


def test_processes_of_several_gpus_find_what_this_one_does(monkeypatch, tmp_path):
    """As PyTorch that a cluster's module has put on the path."""
    environments: list[dict[str, str]] = []

    def popen(command, *, env, **_):
        environments.append(env)
        raise OSError("pretended")

    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}elsewhere")
    monkeypatch.setattr(launch.subprocess, "Popen", popen)
    with pytest.raises(OSError, match="pretended"):
        launch.run_processes(Call({}, None, 0, runs.ON_CPU, 1, "", "two", None), 2)
    assert environments[0]["PYTHONPATH"].split(os.pathsep)[1:] == [str(tmp_path), "elsewhere"]
