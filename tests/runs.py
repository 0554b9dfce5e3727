"""A training as tests and benchmarks call it: what ``loop.train`` takes, with all that they do not care about."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftft.experiment.config import Training
from ftft.jobs.environment import Runtime
from ftft.training import launch
from ftft.training.run import Run
from ftft.training.settings import Call, Files

ON_CPU = Runtime(device="cpu", progress=False)


def results(folder: Path) -> dict[str, bytes]:
    """What a run leaves that must be the same to the byte.

    The cost table has seconds in it, and the state of an interrupted run is cleared by its job.
    """
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    left = [path for path in paths if path.name != "cost.parquet" and path.parts[0] != "state"]
    return {str(path): (folder / path).read_bytes() for path in left}


def interrupt_after(monkeypatch: Any, steps: int) -> list[int]:
    """Ask the run that takes so many steps to stop; returns the numbers of all steps that are taken from now on."""
    advance, taken = Run.advance, []

    def interrupted(run: Run) -> None:
        advance(run)
        taken.append(run.state.step)
        if len(taken) == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "advance", interrupted)
    return taken


def train_in_two_processes(
    cfg: dict[str, Any], files: Files, *, seed: int = 0, log: Path | None = None, **runtime: Any
) -> None:
    """A training with the title ``two``, on the CPU."""
    told = replace(ON_CPU, **runtime)
    call = Call(cfg, files, seed, told, threads=1, code="", title="two", log=str(log) if log else None)
    launch.run_processes(call, 2)


def files(folder: Path, **inputs: Any) -> Files:
    """All outputs in ``folder``; no subset, guide or start, unless ``inputs`` names them."""
    outputs = {
        "models": folder / "models",
        "metrics": folder / "metrics.parquet",
        "cost": folder / "cost.parquet",
        "dynamics": folder / "dynamics.parquet",
        "manifest": folder / "manifest.json",
        "state": folder / "state",
    }
    return Files(**{"subset": None, "guide": None, "start": None} | outputs | inputs)


def settings(labels: list[str], dev: list[str], training: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A whole model on all data for all its steps, scored by accuracy, without stop rules; or what ``changes`` says."""
    plain: dict[str, Any] = {
        "tune": "all",
        "lora": None,
        "features": "mean",
        "hidden_size": 384,
        "budget": 1.0,
        "layers": None,
        "metric": "accuracy",
        "stops": {},
        "reference_stop": None,
        "final": True,
        "upweight": None,
        "product_of_experts": None,
    }
    return plain | {"labels": labels, "dev": dev, "training": Training(**training).model_dump()} | changes
