"""How fast training is on a device beside the Hugging Face Trainer, and what a step waits for.

    python benchmarks/on_gpu/fast.py --data FOLDER

Models of the shape of known ones on real posts and pairs, batch 32. All contenders train the same texts; the first
epoch, in which libraries choose their kernels and passes are recorded, is not counted. First all of them as they are,
then, as far as the time goes, this loop without CUDA graphs, and both compiled, which takes a minute each.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import options, parse

# isort: split
import torch
import training_speed as speed
from basis import device
from torch.profiler import ProfilerActivity, profile

CASES = [*speed.CPU_CASES[:1], *speed.GPU_CASES]
TEXTS = 960  # an epoch of thirty batches
ROUNDS = 3  # epochs that are timed, of which the median counts
# Kinds of work that take the device's time, by words in the names of kernels; the first that fits counts.
KINDS = {
    "matrix products": ("gemm", "nvjet", "cutlass", "xmma", "splitk"),
    "optimizer, gradient norm": ("multi_tensor", "adam"),
    "attention": ("flash", "fmha", "softmax"),
    "layer normalisation": ("layer_norm", "layernorm", "gammabeta"),
    "lookups": ("gather", "scatter", "index", "embedding", "sort"),
    "sums": ("reduce",),
    "dropout": ("dropout", "philox", "distribution"),
    "element by element, conversions, copies": ("elementwise", "copy", "memcpy", "memset", "fill", "cat"),
}


@dataclass
class Row:
    """The measurements of one case; ``rates`` are examples per second, by contender."""

    case: speed.Case
    folder: Path
    rates: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0  # of an example's real tokens
    memory: float = 0.0  # bytes of the device that this loop held at most
    # Share of the time in which the device computes, by whether passes are recorded; else the host launches kernels.
    busy: dict[bool, float] = field(default_factory=dict)
    kinds: dict[str, float] = field(default_factory=dict)  # seconds of the device in an epoch, by kind of kernel


def main() -> None:
    arguments = parse(options(__doc__))
    speed.TEXTS = 256 if arguments.smoke else TEXTS
    # A processor without bf16 takes minutes for its bf16 matrix rate.
    peak = None if arguments.smoke else speed.header(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as name:
        rows = []
        for number, case in enumerate([speed.SMOKE] if arguments.smoke else CASES):
            row = Row(case, Path(name) / str(number))
            case.prepare(row.folder, arguments.data)
            rows.append(row)
        for row in rows:
            if time.monotonic() > arguments.deadline:
                break
            as_it_is(row)
            print(f"  {row.case.name}: {shown(row.rates)}", file=sys.stderr, flush=True)
        table(rows, peak)
        if arguments.smoke:
            return
        if device() == "cuda":
            for row in rows:
                if time.monotonic() + 20 < arguments.deadline:
                    row.rates["this loop, kernel by kernel"] = ours(row, cuda_graphs=False)
        for row in rows:
            for contender, measure in (("this loop, compiled", ours), ("Trainer, compiled", trainer)):
                if time.monotonic() + 60 < arguments.deadline:
                    row.rates[contender] = measure(row, compiled=True)
        print("\nWith what else was measured in time:\n")
        table(rows, peak)


def as_it_is(row: Row) -> None:
    """Measure both loops without compilation."""
    row.rates["this loop"] = ours(row)
    row.rates["Trainer"] = trainer(row)


def ours(row: Row, *, compiled: bool = False, cuda_graphs: bool = True) -> float:
    """Examples per second of this loop, with training dynamics; on a GPU its passes are recorded unless compiled."""
    if device() == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run = speed.start(row.folder, row.case, compile=compiled, cuda_graphs=cuda_graphs and not compiled)
    row.flops = speed.useful_flops(row.folder, run.step.flops) / speed.TEXTS
    epoch(run)
    rates = [speed.TEXTS / epoch(run) for _ in range(ROUNDS)]
    if device() == "cuda" and not compiled:
        row.memory = row.memory or torch.cuda.max_memory_reserved()
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            epoch(run)
        kinds = by_kind(profiled.key_averages())
        row.busy[cuda_graphs] = sum(kinds.values()) * statistics.median(rates) / speed.TEXTS
        row.kinds = row.kinds or kinds
    return statistics.median(rates)


def by_kind(events: Any) -> dict[str, float]:
    """Seconds that the device spent in each kind of kernel."""
    found = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in events:
        if not event.is_user_annotation:
            name = event.key.lower()
            fitting = (kind for kind, words in KINDS.items() if any(word in name for word in words))
            found[next(fitting, "other")] += event.self_device_time_total / 1e6
    return found


def epoch(run: Any) -> float:
    """Train all texts once; returns the seconds."""
    run.state.step = 0
    run.journal.losses.clear()
    speed.synchronize()
    begin = time.perf_counter()
    while run.state.step < run.steps:
        run.advance()
    speed.synchronize()
    return time.perf_counter() - begin


def trainer(row: Row, *, compiled: bool = False) -> float:
    """Examples per second of the Trainer in bf16 with its best settings."""
    on_gpu = device() == "cuda"
    return statistics.median(
        speed.hf_epochs(row.folder, row.case, bf16=on_gpu, compiled=compiled, epochs=1 + ROUNDS)[1:]
    )


def table(rows: list[Row], peak: float | None) -> None:
    """Print what there is; the ratio is that of the faster of each, compiled or not."""
    print(
        "| model, texts | examples per second | ratio | share of the matrix rate | device busy | memory, GB |\n"
        "|---|---|---|---|---|---|"
    )
    for row in rows:
        best = max((rate for name, rate in row.rates.items() if name.startswith("this loop")), default=0.0)
        other = max((rate for name, rate in row.rates.items() if name.startswith("Trainer")), default=0.0)
        ratio = f"{best / other:.2f}" if other else ""
        share = "" if peak is None else f"{best * row.flops / peak:.0%}"
        busy = ", kernel by kernel ".join(f"{share:.0%}" for share in row.busy.values())
        memory = f"{row.memory / 1e9:.1f}" if row.memory else ""
        print(f"| {row.case.name} | {shown(row.rates)} | {ratio} | {share} | {busy} | {memory} |", flush=True)
    profiled = [row for row in rows if row.kinds]
    if profiled:
        print(
            f"\n| the device's time | {' | '.join(row.case.name for row in profiled)} |\n|---|{'---|' * len(profiled)}"
        )
        for kind in profiled[0].kinds:
            shares = [f"{row.kinds[kind] / sum(row.kinds.values()):.0%}" for row in profiled]
            print(f"| {kind} | {' | '.join(shares)} |", flush=True)


def shown(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()) or "not measured"


if __name__ == "__main__":
    main()
