"""Shared by benchmarks: the library's path, the device, an experiment of one training, and tokens of real data sets."""

import sys
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("workflow/scripts", "tests")]
warnings.filterwarnings("ignore")

import torch

from ftft.data import prepare, tokens
from ftft.experiment import config, stages
from ftft.experiment.plan import Plan


def device() -> str:
    """The kind of device that is measured."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def plan_of(model: dict[str, Any], labels: list[str], training: dict[str, Any]) -> Plan:
    """The plan of an experiment that trains one model, named ``model``, on all data.

    Args:
        model: its entry in the configuration.
        labels: names of the classes.
        training: section of the configuration.
    """
    nowhere = {"path": "none.csv"}  # nothing reads it
    experiment = {
        "task": "benchmark",
        "data": {"text": "text", "labels": labels, "train": nowhere, "dev": nowhere},
        "models": {"model": model},
        "mains": ["model"],
        "methods": {"erm": {}},
        "seeds": [0],
        "training": training,
    }
    return Plan(config.load(experiment))


def tokenized(plan: Plan, dataset: str, corpora: Path, folder: Path, max_length: int) -> tuple[Path, Path]:
    """Prepare a data set of an experiment in a folder, which has the model's ``source``.

    Returns:
        the files of its texts and of its tokens.
    """
    data, tokens_of_it = folder / f"{dataset}.parquet", folder / f"tokens-{dataset}.parquet"
    prepare.download(stages.download(plan, dataset), data, corpora)
    inputs = (data, folder / "source/tokenizer.json", folder / "source/source.json")
    tokens.tokenize(*inputs, tokens_of_it, max_length=max_length)
    return data, tokens_of_it
