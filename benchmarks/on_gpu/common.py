"""Shared by the parts: their options, the library's path, and small trainings that need no corpus."""

import argparse
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from basis import plan_of

# isort: split
import pyarrow as pa
import runs
import transformers

from ftft.core import artifacts
from ftft.data import tokens
from ftft.data.schemas import IN_DISTRIBUTION, LABEL, data_schema
from ftft.experiment import stages
from ftft.jobs.environment import Runtime
from ftft.models import pretrained
from ftft.training import loop
from ftft.training.settings import Files

transformers.logging.set_verbosity_error()

FAMILIES = ("bert", "roberta", "electra", "deberta-v2", "modernbert", "gpt2", "llama", "qwen3")
LABELS = ["no", "maybe", "yes"]
WORDS = ["the", "a", "tall", "nurse", "farmer", "saw", "helped", "never", "quietly", "in", "garden", "house", "river"]


def options(description: str | None) -> argparse.ArgumentParser:
    """The options that all parts have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seconds", type=float, default=240.0, help="end after so many, whatever is left to do")
    parser.add_argument("--smoke", action="store_true")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read what is asked for, and note the time at which to end."""
    arguments = parser.parse_args()
    arguments.deadline = time.monotonic() + arguments.seconds
    return arguments


class Small:
    """A model of a few weights of one family, and texts for it.

    Attributes:
        folder: gets everything.
        plan: of the experiment that trains it.
    """

    def __init__(self, folder: Path, family: str, rows: int = 640, **settings: Any) -> None:
        self.folder = folder
        scratch = {"architecture": family, "layers": 2, "hidden_size": 64, "heads": 4, "intermediate_size": 128}
        defaults = {"batch_size": 32, "steps": 20, "evaluate_every": 20, "learning_rate": 5e-4, "max_length": 64}
        training = defaults | {"dropout": 0.0, "precision": "fp32"} | settings
        self.plan = plan_of({"scratch": scratch | {"max_positions": 128}}, LABELS, training)
        if not (folder / "source").exists():
            self._prepare(rows)

    def _prepare(self, rows: int) -> None:
        generator = random.Random(0)
        source = self.plan.model_sources[self.plan.source_of("model")]
        for name, count in (("train", rows), ("dev", 96)):
            labels = [generator.randrange(len(LABELS)) for _ in range(count)]
            texts = [" ".join(generator.choices(WORDS[label:], k=generator.randrange(3, 40))) for label in labels]
            columns = {"uid": [f"{name}{row:05d}" for row in range(count)], "text_a": texts}
            table = pa.table(columns | {"label": pa.array(labels, LABEL)})
            artifacts.write_table(table, self.folder / f"{name}.parquet", data_schema(pairs=False))
        pretrained.prepare(source, self.folder / "source", self.folder / "train.parquet")
        for name in ("train", "dev"):
            inputs = (self.folder / f"{name}.parquet", self.folder / "source/tokenizer.json")
            tokens.tokenize(*inputs, self.folder / "source/source.json", self.folder / f"tokens-{name}.parquet", 64)

    def files(self, name: str) -> Files:
        """The inputs, and outputs in a folder of that name."""
        return runs.files(
            self.folder / name,
            source=self.folder / "source",
            train=self.folder / "tokens-train.parquet",
            dev={IN_DISTRIBUTION: self.folder / "tokens-dev.parquet"},
        )

    def train(self, name: str, kind: str, **runtime: Any) -> Files:
        """Train it on a kind of device; returns the files."""
        files = self.files(name)
        files.metrics.parent.mkdir(parents=True, exist_ok=True)
        told = replace(Runtime(device=kind, progress=False, compile=False), **runtime)
        loop.train(stages.train(self.plan, "model"), files, seed=0, runtime=told, threads=2)
        return files
