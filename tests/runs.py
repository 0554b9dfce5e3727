"""A training as tests and benchmarks call it: what ``loop.train`` takes, with all that they do not care about."""

from pathlib import Path
from typing import Any

from ftft.experiment.config import Training
from ftft.training.settings import Files


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
