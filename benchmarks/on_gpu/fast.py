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

from common import parse

# isort: split
import torch
import training_speed as speed
from torch.profiler import ProfilerActivity, profile

CASES = [*speed.CPU_CASES[:1], *speed.GPU_CASES]
SMOKE = speed.Case("a small BERT, posts", "single", speed.shape("bert", 2, 32, 2, 500))
TEXTS = 960  # an epoch of thirty batches
ROUNDS = 3  # epochs that are timed, of which the median counts


@dataclass
class Row:
    """What was measured of one case: examples per second, by contender."""

    case: speed.Case
    folder: Path
    rates: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0  # of an example's real tokens
    # Share of the time in which the device computes, by whether passes are recorded; else the host launches kernels.
    busy: dict[bool, float] = field(default_factory=dict)


def main() -> None:
    arguments = parse(__doc__)
    speed.TEXTS = 256 if arguments.smoke else TEXTS
    # A processor without bf16 takes minutes for its bf16 matrix rate.
    peak = None if arguments.smoke else speed.header(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as name:
        rows = []
        for number, case in enumerate([SMOKE] if arguments.smoke else CASES):
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
        if speed.device() == "cuda":
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
    run = speed.start(row.folder, row.case, compile=compiled, cuda_graphs=cuda_graphs and not compiled)
    row.flops = speed.useful_flops(row.folder, run.step.flops) / speed.TEXTS
    epoch(run)
    rates = [speed.TEXTS / epoch(run) for _ in range(ROUNDS)]
    if speed.device() == "cuda" and not compiled:
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            epoch(run)
        events: Any = profiled.key_averages()
        kernels = (event.self_device_time_total for event in events if not event.is_user_annotation)
        seconds = sum(kernels) / 1e6
        row.busy[cuda_graphs] = seconds * statistics.median(rates) / speed.TEXTS
    return statistics.median(rates)


def epoch(run: Any) -> float:
    """Train all texts once; returns the seconds."""
    run.state.step = 0
    run.journal.losses.clear()
    synchronize()
    begin = time.perf_counter()
    while run.state.step < run.steps:
        run.advance()
    synchronize()
    return time.perf_counter() - begin


def trainer(row: Row, *, compiled: bool = False) -> float:
    """Examples per second of the Trainer in bf16 with its best settings."""
    on_gpu = speed.device() == "cuda"
    return statistics.median(
        speed.hf_epochs(row.folder, row.case, bf16=on_gpu, compiled=compiled, epochs=1 + ROUNDS)[1:]
    )


def table(rows: list[Row], peak: float | None) -> None:
    """Print what there is; the ratio is that of the faster of each, compiled or not."""
    print(
        "| model, texts | examples per second | ratio | share of the matrix rate | device busy |\n|---|---|---|---|---|"
    )
    for row in rows:
        best = max((rate for name, rate in row.rates.items() if name.startswith("this loop")), default=0.0)
        other = max((rate for name, rate in row.rates.items() if name.startswith("Trainer")), default=0.0)
        ratio = f"{best / other:.2f}" if other else ""
        share = "" if peak is None else f"{best * row.flops / peak:.0%}"
        busy = ", kernel by kernel ".join(f"{share:.0%}" for share in row.busy.values())
        print(f"| {row.case.name} | {shown(row.rates)} | {ratio} | {share} | {busy} |", flush=True)


def shown(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()) or "not measured"


def synchronize() -> None:
    if speed.device() == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
