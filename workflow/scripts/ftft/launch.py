"""Start the training that a job asks for, in one process or in one per GPU.

Run as ``python -m ftft.launch ARGUMENTS.json``, it is one of several processes.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ftft import gpus, training
from ftft.job import Job, reporting


def train(job: Job, title: str) -> None:
    """Run ``training.train`` on the inputs, outputs and settings of a job of rule train_reference or train_main."""
    inputs, outputs = dict(job.input.items()), dict(job.output.items())
    files = {
        "source": str(Path(inputs["source"]).parent),
        "train": inputs["train"],
        "dev": dict(zip(job.params.cfg["dev"], inputs["dev"], strict=True)),
        # Snakemake gives an input that a run does not have as an empty list.
        "subset": inputs.get("subset") or None,
        "guide": inputs.get("guide") or None,
        "start": inputs.get("start") or None,
        "models": outputs["models"],
        "metrics": outputs["metrics"],
        "cost": outputs["cost"],
        "dynamics": outputs.get("dynamics"),
        "manifest": outputs["manifest"],
        # Beside the outputs, not among them: Snakemake deletes outputs when a job starts or fails.
        "state": str(Path(outputs["metrics"]).parent / "state"),
    }
    runtime = dict(job.runtime.get("runtime") or {})
    # Where jobs run side by side, they and Snakemake write into each other's bars; lines stay whole.
    alone = job.threads >= (job.runtime.get("cores") or job.threads)
    runtime["progress"] = runtime.get("progress", True) and alone
    if job.params.cfg["tune"] != "all":  # a head is trained in seconds and has no use for a GPU
        runtime["device"] = "cpu"
    arguments = {
        "cfg": job.params.cfg,
        "files": files,
        "seed": int(job.wildcards.seed),
        "runtime": runtime,
        "threads": max(1, job.threads // max(job.gpus, 1)),
        "code": job.params.code,
        "title": title,
    }
    with gpus.assigned(job.gpus, device=runtime.get("device", "auto")) as assigned:
        if job.gpus > 1:
            run_processes(arguments, job.gpus, job.log, keep=assigned.locks)
        else:
            _train(arguments)


def run_processes(
    arguments: dict[str, Any], processes: int, log: str | None = None, *, keep: tuple[int, ...] = ()
) -> None:
    """Run one training in several processes on this machine; they find each other through the environment.

    A signal to stop is passed on. When one process fails, the others are ended.

    Args:
        arguments: of ``training.train``.
        processes: how many.
        log: log file of the first.
        keep: open files that the processes inherit.

    Raises:
        SystemExit: a process failed; it has said why.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump({"arguments": arguments, "log": log}, file)
        file.flush()
        command = [sys.executable, "-m", "ftft.launch", file.name]
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        children = [subprocess.Popen(command, env=common | rank, pass_fds=keep) for rank in ranks]
        passed_on = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

        def pass_on(number: int, _: Any) -> None:
            for child in children:
                child.send_signal(number)

        before = {number: signal.signal(number, pass_on) for number in passed_on}
        try:
            _wait(children)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if any(child.returncode for child in children):
        sys.exit(1)


def _wait(children: list[subprocess.Popen]) -> None:
    """Until all processes have ended; once one has failed, the others get a moment to say so too and are ended."""
    running = list(children)
    failed = False
    while running:
        for child in list(running):
            try:
                child.wait(timeout=10 if failed else 0.2)
            except subprocess.TimeoutExpired:
                if failed:
                    child.kill()
                continue
            running.remove(child)
            failed = failed or child.returncode != 0


def _train(arguments: dict[str, Any]) -> None:
    paths: dict[str, Any] = dict(arguments["files"])
    dev = {name: Path(path) for name, path in paths.pop("dev").items()}
    others: dict[str, Any] = {name: Path(path) if path else None for name, path in paths.items()}
    files = training.Files(dev=dev, **others)
    settings = {name: value for name, value in arguments.items() if name != "files"}
    training.train(files=files, **settings)


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # All processes know the same; one says it.
    first = os.environ["RANK"] == "0"
    with reporting(given["log"] if first else None, logging.INFO if first else logging.WARNING):
        _train(given["arguments"])
