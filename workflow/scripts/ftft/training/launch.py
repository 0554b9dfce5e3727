"""Start the training that a job asks for, in one process or in one per GPU.

Run as ``python -m ftft.training.launch`` by ``run_processes``, it is one of several processes.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftft.core.errors import UserError
from ftft.jobs import gpus
from ftft.jobs.environment import Runtime
from ftft.jobs.job import Job, reporting
from ftft.jobs.running import end_after
from ftft.models import heads
from ftft.training import checkpointing, loop
from ftft.training.settings import Call, Files


def train(job: Job, title: str) -> None:
    """Run ``loop.train`` on the inputs, outputs and settings of a job of rule train_reference or train_main."""
    runtime = _runtime(job)
    with gpus.assigned(job.gpus, device=runtime.device) as assigned:
        processes = max(len(assigned.devices), 1)  # a CPU does the work of several GPUs in one
        call = Call(
            cfg=job.params.cfg,
            files=_files(job),
            seed=int(job.wildcards.seed),
            runtime=runtime,
            threads=max(1, job.threads // processes),
            code=job.params.code,
            title=title,
            log=job.log,
        )
        if processes > 1:
            run_processes(call, processes, keep=assigned.locks)
        else:
            _train(call)


def forget(job: Job) -> None:
    """Delete the state of a training whose results are all written."""
    checkpointing.remove(_state(job))


def _runtime(job: Job) -> Runtime:
    """The configuration's ``runtime``, with what follows from the job."""
    runtime = job.environment.runtime
    # Where jobs run side by side, they and Snakemake write into each other's bars; lines stay whole.
    alone = job.threads >= (job.environment.cores or job.threads)
    runtime = replace(runtime, progress=runtime.progress and alone)
    if job.params.cfg["tune"] in heads.ON_FEATURES:  # a head is trained in seconds and has no use for a GPU
        runtime = replace(runtime, device="cpu")
    return runtime


def _files(job: Job) -> Files:
    """The inputs and outputs of a job."""
    inputs, outputs = dict(job.input.items()), dict(job.output.items())

    def path_of(name: str) -> Path | None:
        # Snakemake gives an input that a run does not have as an empty list.
        return Path(inputs[name]) if inputs.get(name) else None

    return Files(
        source=Path(inputs["source"]).parent,
        train=Path(inputs["train"]),
        dev=dict(zip(job.params.cfg["dev"], map(Path, inputs["dev"]), strict=True)),
        subset=path_of("subset"),
        guide=path_of("guide"),
        start=path_of("start"),
        models=Path(outputs["models"]),
        metrics=Path(outputs["metrics"]),
        cost=Path(outputs["cost"]),
        dynamics=Path(outputs["dynamics"]) if "dynamics" in outputs else None,
        manifest=Path(outputs["manifest"]),
        state=_state(job),
    )


def _state(job: Job) -> Path:
    """Beside the outputs, not among them: Snakemake deletes outputs when a job starts or fails."""
    return Path(dict(job.output.items())["metrics"]).parent / "state"


def run_processes(call: Call, processes: int, *, keep: tuple[int, ...] = ()) -> None:
    """Run one training in several processes on this machine; they find each other through the environment.

    A signal to stop is passed on. When one process fails, the others are ended, and all end with this one, however it
    ends.

    Args:
        call: what each of them is asked for.
        processes: how many.
        keep: open files that the processes inherit.

    Raises:
        UserError: a process was ended by a signal.
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
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])),
    }
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: Any) -> None:
        for child in children:
            child.send_signal(number)

    passed_on = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.signal(number, pass_on) for number in passed_on}
    try:
        for rank in range(processes):
            environment = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            command = [sys.executable, "-m", "ftft.training.launch"]
            child = subprocess.Popen(command, env=environment, pass_fds=keep, stdin=subprocess.PIPE)
            children.append(child)
        for child in children:
            _tell(child, call)
        failed = _wait(children)
    finally:
        for child in children:  # after a failure of our own, they end by this
            with suppress(BrokenPipeError):
                child.stdin.close()  # type: ignore[union-attr]
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed is None:
        return
    if failed.returncode < 0:
        raise UserError(
            f"process {children.index(failed)} of {processes} was ended by {_name(-failed.returncode)}; SIGKILL often "
            "means that memory ran out: raise mem_mb of the model"
        )
    sys.exit(1)


def _tell(child: subprocess.Popen[bytes], call: Call) -> None:
    """Tell a process what to do. The pipe stays open: when it ends, the process knows that this one is gone."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it has failed already, and is waited for
        pickle.dump(call, child.stdin)
        child.stdin.flush()


def _wait(children: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes] | None:
    """Wait until all processes have ended; once one has failed, the others get a moment to say so too and are ended.

    Returns:
        the process that failed first.
    """
    running = list(children)
    failed = None
    while running:
        for child in list(running):
            try:
                child.wait(timeout=10 if failed else 0.2)
            except subprocess.TimeoutExpired:
                if failed:
                    child.kill()
                continue
            running.remove(child)
            if child.returncode and failed is None:
                failed = child
    return failed


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _train(call: Call) -> None:
    loop.train(
        call.cfg,
        call.files,
        seed=call.seed,
        runtime=call.runtime,
        threads=call.threads,
        code=call.code,
        title=call.title,
    )


if __name__ == "__main__":
    try:
        call = pickle.load(sys.stdin.buffer)
    except (EOFError, pickle.UnpicklingError):
        sys.exit(1)  # the process that started this one is gone already
    rank = int(os.environ["RANK"])
    with reporting(call.log, rank=rank):
        end_after(lambda: os.read(sys.stdin.fileno(), 1))  # nothing more is written: it returns at the end of the pipe
        _train(call)
