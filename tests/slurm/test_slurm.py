"""The workflow on a real SLURM: what jobs ask for and are given, and how they go on when they are killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from workflow.harness import ROOT, planned_jobs, small_config, snakemake, write_config, write_experiment

from slurm.cluster import Cluster, missing, wait_until

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

SITE = {
    "set-resources": {
        "train_reference": {"slurm_partition": "gpu"},
        "train_main": {"slurm_partition": "gpu", "gpu_model": "h100"},
        "evaluate_ood": {"slurm_partition": "gpu"},
    }
}
# Snakemake, asking for the states of jobs every two seconds; without this it waits ten seconds longer each time that
# nothing has ended.
SNAKEMAKE = """
import asyncio
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
RemoteExecutor.sleep = lambda self: asyncio.sleep(2)
main()
"""
ERM = "results/topics/reference/large/seed{seed}"


def slurm_config(**large: object) -> dict:
    """The small experiment, with two models of one architecture, which share their tokens; ``large`` is changed."""
    config = small_config()
    scratch = config["models"]["small"]["scratch"]
    config["models"] = {
        "small": {"scratch": scratch, "resources": {"gpu": 1, "mem_mb": 1500, "runtime": 20, "threads": 1}},
        "large": {"scratch": scratch, "resources": {"gpu": 1, "mem_mb": 2500, "runtime": "2h", "threads": 2}, **large},
    }
    config["methods"] = {name: config["methods"][name] for name in ("erm", "ftft")}
    config["seeds"] = [0, 1]
    return config


class Sent:
    """``snakemake --profile slurm`` in a folder, running in the background.

    Args:
        cluster: where jobs go.
        folder: of the experiment.
        arguments: targets and further options.
        site: the profile of this cluster.
    """

    def __init__(self, cluster: Cluster, folder: Path, *arguments: str, site: dict | None = None) -> None:
        self.cluster, self.folder = cluster, folder
        (folder / "site").mkdir(exist_ok=True)
        (folder / "site/config.yaml").write_text(yaml.safe_dump(site or SITE), encoding="utf-8")
        command = [sys.executable, "-c", SNAKEMAKE, *arguments, "--snakefile", str(ROOT / "Snakefile")]
        command += ["--configfile", "config.yaml", "--profile", str(ROOT / "profiles/slurm"), "--profile", "site"]
        command += ["--slurm-status-command", "squeue"]  # there is no accounting
        environment = cluster.environment | {"HF_HUB_OFFLINE": "1", "TERM": "dumb"}
        self.before = {job["JobId"] for job in cluster.jobs()}
        with open(folder / "terminal", "w", encoding="utf-8") as terminal:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=terminal, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        return (self.folder / "terminal").read_text(encoding="utf-8")

    def wait(self, *, fails: bool = False) -> None:
        """Until it ends, as it should."""
        status = self.process.wait(600)
        assert (status != 0) == fails, self.output

    def jobs(self, rule: str = "", name: str = "") -> list[dict[str, str]]:
        """What SLURM knows of the jobs of a rule whose wildcards are ``name``, in the order they were sent."""
        found = []
        for job in self.cluster.jobs():
            sent, _, wildcards = job["Comment"].removeprefix("rule_").partition("_wildcards_")
            if job["JobId"] not in self.before and rule in ("", sent) and name in ("", wildcards):
                found.append(job | {"rule": sent})
        return sorted(found, key=lambda job: int(job["JobId"]))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        try:
            cluster.start()
        except PermissionError as failure:
            pytest.skip(f"a container that may not make device nodes: {failure}")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def send(cluster) -> Iterator[Callable[..., Sent]]:
    """``send(folder, …)`` starts Snakemake as ``Sent`` does; nothing of it outlives the tests."""
    started = []

    def start(folder: Path, *arguments: str, site: dict | None = None) -> Sent:
        started.append(Sent(cluster, folder, *arguments, site=site))
        return started[-1]

    yield start
    for sent in started:
        sent.process.kill()
        sent.process.wait()


@pytest.fixture(scope="module")
def finished(send, tmp_path_factory) -> Sent:
    """The whole experiment."""
    sent = send(write_experiment(tmp_path_factory.mktemp("finished"), slurm_config()))
    sent.wait()
    return sent


def copy(finished: Sent, folder: Path, config: dict) -> Path:
    """The finished experiment, changed."""
    shutil.copytree(finished.folder, folder)
    write_config(folder, config)
    return folder


def asked(job: dict[str, str]) -> dict[str, str]:
    """What a job asked SLURM for."""
    return {
        "partition": job["Partition"],
        "gpus": job.get("TresPerJob", job.get("TresPerNode", "")),
        "mem": job["MinMemoryNode"],
        "time": job["TimeLimit"],
        "cpus": job["NumCPUs"],
        "tasks": job["NumTasks"],
    }


def expected(partition: str, gpus: str, mem: str, time: str, cpus: str) -> dict[str, str]:
    return {"partition": partition, "gpus": gpus, "mem": mem, "time": time, "cpus": cpus, "tasks": "1"}


def overlap(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two jobs ran at the same time."""
    start, end = ([datetime.fromisoformat(job[key]) for job in (one, other)] for key in ("StartTime", "EndTime"))
    return max(start) < min(end)


def gpus_of(log: Path) -> list[str]:
    """The devices that a job's log says it computes on."""
    return re.findall(r"computing on GPU (.*)", log.read_text(encoding="utf-8"))


def environment(process: int) -> dict[str, str]:
    """Environment variables of a process; none for one that has ended."""
    return dict(entry.split("=", 1) for entry in read(process, "environ") if "=" in entry)


def processes(job: str, word: str) -> list[int]:
    """Ids of a SLURM job's Python processes that have a word in their command line."""
    found = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    found = [process for process in found if environment(process).get("SLURM_JOB_ID") == job]
    commands = {process: read(process, "cmdline") for process in found}
    return [process for process in found if "python" in commands[process][0] and word in " ".join(commands[process])]


def read(process: int, name: str) -> list[str]:
    """The entries of a file that the system keeps on a process."""
    try:
        return Path(f"/proc/{process}/{name}").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return [""]


def test_every_rule_asks_for_what_config_and_profile_say(finished):
    default = expected("cpu", "", "4000M", "01:00:00", "1")
    found = {}
    for job in finished.jobs():
        model = "small" if "_wildcards_small" in job["Comment"] else "large"
        key = f"train_reference {model}" if job["rule"] == "train_reference" else job["rule"]
        assert found.setdefault(key, asked(job)) == asked(job)
    assert found == {
        "tokenize": default,
        "train_reference small": expected("gpu", "gres:gpu:1", "1500M", "00:20:00", "1"),
        "train_reference large": expected("gpu", "gres:gpu:1", "2500M", "02:00:00", "2"),
        "compute_datamap": default,
        "select_subset": default,
        "train_main": expected("gpu", "gres:gpu:h100:1", "2500M", "02:00:00", "2"),
        "evaluate_ood": expected("gpu", "gres:gpu:1", "2500M", "01:00:00", "2"),
    }


def test_erm_references_and_seeds_run_side_by_side(finished):
    jobs = finished.jobs("train_reference")
    assert len(jobs) == 4
    assert [(one["Comment"], other["Comment"]) for one in jobs for other in jobs if not overlap(one, other)] == []


def test_a_gpu_job_sees_its_device_alone(finished):
    logs = finished.folder / "results/topics/logs"
    devices = [gpus_of(log) for log in logs.glob("train_reference/*/seed?.log")]
    assert sorted(devices) == [["0"], ["1"], ["2"], ["3"]]  # the four ran at the same time
    mains = [gpus_of(log) for log in logs.glob("train_main/**/seed?.log")]
    assert sorted(mains) in ([["2"], ["3"]], [["2"], ["2"]], [["3"], ["3"]])  # the h100s
    evaluations = [gpus_of(log) for log in logs.glob("evaluate_ood/**/*.log")]
    assert [len(found) for found in evaluations] == [1] * 4
    everybody = [gpus_of(log) for log in logs.rglob("*.log")]
    assert sum(map(len, everybody)) == 4 + 2 + 4


def test_a_killed_job_goes_on_and_ends_as_if_nothing_had_happened(cluster, send, finished, tmp_path):
    resources = {"gpu": 1, "mem_mb": 2500, "runtime": "2h", "threads": 1}
    config = slurm_config(epochs=100, evaluate_every=300, resources=resources) | {"seeds": [0, 1, 2]}
    targets = [f"{ERM.format(seed=seed)}/metrics.parquet" for seed in config["seeds"]]
    undisturbed = copy(finished, tmp_path / "undisturbed", config)
    config["runtime"] |= {"checkpoint_minutes": 0.005}
    sent = send(copy(finished, tmp_path / "disturbed", config), *targets)
    jobs: dict[int, str] = {}

    def stopped() -> bool:
        """A job that has saved something to go on from stays where it is until SLURM gets round to killing it."""
        for seed in set(range(3)) - set(jobs):
            if any((sent.folder / ERM.format(seed=seed) / "state").glob("*.pt")):
                jobs[seed] = sent.jobs("train_reference", f"large_{seed}")[0]["JobId"]
                for process in processes(jobs[seed], ".snakemake/scripts"):
                    os.kill(process, signal.SIGSTOP)
        return len(jobs) == 3

    wait_until(stopped, "checkpoints", 180)
    cluster.run("scontrol", "update", f"jobid={jobs[0]}", "EndTime=now+1seconds")
    cluster.run("scancel", jobs[1])
    cluster.run("scontrol", "requeue", jobs[2])
    wait_until(lambda: sent.jobs("train_reference", "large_2")[0]["JobState"] == "PENDING", "the job to be requeued")
    cluster.run("scontrol", "update", f"jobid={jobs[2]}", "StartTime=now")  # not two minutes later
    done = snakemake(undisturbed, "--", *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    sent.wait()

    states = {seed: [job["JobState"] for job in sent.jobs("train_reference", f"large_{seed}")] for seed in range(3)}
    assert states == {0: ["TIMEOUT", "COMPLETED"], 1: ["CANCELLED", "COMPLETED"], 2: ["COMPLETED"]}
    assert sent.jobs("train_reference", "large_2")[0]["Restarts"] == "1"
    for seed in range(3):
        log = sent.folder / f"results/topics/logs/train_reference/large/seed{seed}.log"
        assert "going on from step" in log.read_text(encoding="utf-8")
        compared = 0
        for path in (undisturbed / ERM.format(seed=seed)).rglob("*"):
            if path.is_file() and path.name != "cost.parquet":  # seconds differ
                same = sent.folder / path.relative_to(undisturbed)
                assert same.read_bytes() == path.read_bytes(), path
                compared += 1
        assert compared >= 5
    # What is sent again asks for more.
    first, second = map(asked, sent.jobs("train_reference", "large_0"))
    assert first["mem"] == "2500M"
    assert second == expected("gpu", "gres:gpu:1", "5000M", "04:00:00", "1")
    assert not list(sent.folder.rglob("state"))


def test_a_job_of_two_gpus_runs_one_process_on_each(send, finished, tmp_path):
    resources = {"gpu": 2, "mem_mb": 2500, "runtime": "2h", "threads": 2}
    config = slurm_config(epochs=40, evaluate_every=100, resources=resources)
    sent = send(copy(finished, tmp_path / "two", config), f"{ERM.format(seed=0)}/metrics.parquet")

    def ranks() -> list[dict[str, str]]:
        return [
            environment(process) for job in sent.jobs() for process in processes(job["JobId"], "ftft.training.launch")
        ]

    seen = wait_until(lambda: found if len(found := ranks()) == 2 else None, "two processes", 120)
    sent.wait()
    (job,) = sent.jobs()
    assert asked(job) == expected("gpu", "gres:gpu:2", "2500M", "02:00:00", "2")
    assert sorted(each["RANK"] for each in seen) == ["0", "1"]
    (devices,) = {each["CUDA_VISIBLE_DEVICES"] for each in seen}
    assert len(set(devices.split(","))) == 2
    log = sent.folder / "results/topics/logs/train_reference/large/seed0.log"
    assert gpus_of(log) == [devices.replace(",", ", ")]


def test_a_cluster_may_want_gres_instead(send, finished, tmp_path):
    config = slurm_config(epochs=2)
    config["runtime"]["device"] = "auto"
    site = {
        "set-resources": {"train_reference": {"gpu": 0, "gres": "gpu:h100:1", "runtime": "min(attempt * 90, 1440)"}}
    }
    folder = copy(finished, tmp_path / "gres", config)
    sent = send(folder, f"{ERM.format(seed=0)}/metrics.parquet", site=site)
    sent.wait()
    (job,) = sent.jobs()
    assert asked(job) == expected("cpu", "gres:gpu:h100:1", "2500M", "01:30:00", "2")
    assert "TresPerJob" not in job  # where --gpus would be
    assert gpus_of(folder / "results/topics/logs/train_reference/large/seed0.log") in (["2"], ["3"])


@pytest.mark.parametrize(("shards", "asked_for"), [(None, "gres:gpu:1"), (8, "gres:shard:2")])
def test_jobs_with_a_share_of_a_gpu_ask_for_shards_or_a_whole_one(send, finished, tmp_path, shards, asked_for):
    config = slurm_config(epochs=2, resources={"gpu": 0.25, "mem_mb": 2500, "runtime": "2h", "threads": 2})
    config["runtime"]["device"] = "auto"
    defaults = {"mem_mb": "attempt * 4000", "runtime": "attempt * 60"} | ({"gpu_shards": shards} if shards else {})
    folder = copy(finished, tmp_path / "shards", config)
    sent = send(folder, f"{ERM.format(seed=0)}/metrics.parquet", site={"default-resources": defaults})
    sent.wait()
    (job,) = sent.jobs()
    assert asked(job) == expected("cpu", asked_for, "2500M", "02:00:00", "2")
    (computing,) = gpus_of(folder / "results/topics/logs/train_reference/large/seed0.log")
    assert re.fullmatch("[0-3], with 0.25 of its memory", computing)


def test_the_error_message_leads_to_the_log(send, finished, tmp_path):
    config = slurm_config(learning_rate=1e9, weight_decay=1e9, optimizer="sgd", warmup=0.0)
    folder = copy(finished, tmp_path / "failing", config)
    sent = send(folder, f"{ERM.format(seed=0)}/metrics.parquet", "--retries", "0")
    sent.wait(fails=True)
    (named,) = set(re.findall(r"results/topics/logs/train_reference/\S+\.log", sent.output))
    line = next(line for line in (folder / named).read_text(encoding="utf-8").splitlines() if " ERROR " in line)
    assert "the loss is" in line
    assert line in sent.output
    (job,) = sent.jobs()
    assert job["StdOut"] in sent.output
    assert line in Path(job["StdOut"]).read_text(encoding="utf-8")


def test_jobs_keep_to_the_configuration_that_they_were_sent_with(cluster, send, finished, tmp_path):
    """The file is edited while a job waits in the queue, and then brought back."""
    other, edited = slurm_config(), slurm_config()
    other["models"]["small"]["learning_rate"] = 1e-3
    edited["models"]["small"]["learning_rate"] = 2e-3
    folder = copy(finished, tmp_path / "edited", other)
    target = "results/topics/reference/small/seed0/manifest.json"
    cluster.run("scontrol", "update", "PartitionName=gpu", "State=DOWN")
    try:
        sent = send(folder, target)
        wait_until(lambda: sent.jobs("train_reference"), "the job to be sent")
        write_config(folder, edited)
    finally:
        cluster.run("scontrol", "update", "PartitionName=gpu", "State=UP")
    sent.wait()
    assert json.loads((folder / target).read_text(encoding="utf-8"))["settings"]["training"]["learning_rate"] == 1e-3
    write_config(folder, other)
    assert planned_jobs(folder, target) == []
    write_config(folder, edited)
    assert planned_jobs(folder, target) == ["train_reference reference=small, seed=0"]


def test_other_resources_rerun_nothing(finished, tmp_path):
    resources = {"gpu": 0, "mem_mb": 9000, "runtime": "3h", "threads": 1}
    assert planned_jobs(copy(finished, tmp_path / "other", slurm_config(resources=resources))) == []


PAGES = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "docs/slurm.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in re.findall(r"^snakemake .*", PAGES, re.MULTILINE)]
# What concerns a cluster: what is sent, and what is done on the login node before.
COMMANDS = sorted(
    {command for command in COMMANDS if "slurm" in command or "download" in command or "tokens" in command}
)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documents_commands_plan_as_typed(cluster, command, tmp_path):
    arguments = command.replace("my.yaml", "config/config.yaml").split()[1:]
    (tmp_path / "config").symlink_to(ROOT / "config")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--dry-run", "--directory", str(tmp_path)],
        cwd=ROOT,
        env=cluster.environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Job stats:" in done.stdout + done.stderr
