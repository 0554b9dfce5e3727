"""How fast training is on a device beside the Hugging Face Trainer, and what a step waits for.

    python benchmarks/on_gpu/fast.py --data FOLDER

Models of the shape of known ones on real posts and pairs, batch 32. All contenders train the same texts in turns, as in
training_speed.py. First all of them as they are, then compiled, as far as the time goes: compiling takes a minute each.
"""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from common import parse

# isort: split
import torch
import training_speed as speed
from torch.profiler import ProfilerActivity, profile

CASES = [*speed.CPU_CASES[:1], *speed.GPU_CASES]
SMOKE = speed.Case("a small BERT, posts", "single", speed.shape("bert", 2, 32, 2, 500))
WARM_UP, ROUNDS = 5, 3  # steps that are not timed; repetitions


@dataclass
class Row:
    """What was measured of one case: examples per second, by contender."""

    case: speed.Case
    folder: Path
    rates: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0  # of an example's real tokens
    busy: float | None = None  # share of a step in which the device computes


def main() -> None:
    arguments = parse(__doc__)
    if arguments.smoke:
        speed.TEXTS = 256
    # A processor without bf16 takes minutes for its bf16 matrix rate.
    peak = None if arguments.smoke else speed.header(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as name:
        rows = []
        for number, case in enumerate([SMOKE] if arguments.smoke else CASES):
            row = Row(case, Path(name) / str(number))
            case.prepare(row.folder, arguments.data)
            row.flops = speed.useful_flops(row.folder, case) / speed.TEXTS
            rows.append(row)
        for row in rows:
            if time.monotonic() > arguments.deadline:
                break
            as_it_is(row)
            print(f"  {row.case.name}: {shown(row.rates)}", file=sys.stderr, flush=True)
        table(rows, peak)
        if arguments.smoke:
            return
        for row in rows:
            for contender, measure in (("this loop, compiled", ours), ("Trainer, compiled", trainer)):
                if time.monotonic() + 60 < arguments.deadline:
                    row.rates[contender] = measure(row, compiled=True)
        print("\nWith what was compiled in time:\n")
        table(rows, peak)


def as_it_is(row: Row) -> None:
    """Measure both loops without compilation, in turns; on a GPU this one with recorded passes too."""
    contenders: dict[str, Callable[[Row], float]] = {"this loop": ours, "Trainer": trainer}
    if speed.device() == "cuda":
        contenders["this loop, recorded"] = partial(ours, cuda_graphs=True)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, measure in contenders.items():
            found[name].append(measure(row))
    row.rates = {name: statistics.median(values) for name, values in found.items()}
    row.busy = busy(row)


def ours(row: Row, *, compiled: bool = False, cuda_graphs: bool = False) -> float:
    """Examples per second of this loop, with training dynamics, after a few steps."""
    run = speed.start(row.folder, row.case, compile=compiled, cuda_graphs=cuda_graphs)
    # A pass is compiled or recorded for shapes that it has not met: the whole epoch once before the clock starts.
    for _ in range(run.steps if compiled or cuda_graphs else WARM_UP):
        run.advance()
    run.state.step = 0
    synchronize()
    begin = time.perf_counter()
    while run.state.step < run.steps:
        run.advance()
    synchronize()
    return speed.TEXTS / (time.perf_counter() - begin)


def trainer(row: Row, *, compiled: bool = False) -> float:
    """Examples per second of the Trainer in bf16 with its best settings."""
    return speed.hf_trainer(row.folder, row.case, bf16=speed.device() == "cuda", compiled=compiled)


def busy(row: Row) -> float | None:
    """Share of the time in which the device computes; the rest it waits for the host to launch its kernels."""
    if speed.device() != "cuda":
        return None
    run = speed.start(row.folder, row.case)
    for _ in range(WARM_UP):
        run.advance()
    synchronize()
    begin = time.perf_counter()
    for _ in range(10):
        run.advance()
    synchronize()
    seconds = time.perf_counter() - begin
    run.state.step = WARM_UP
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(10):
            run.advance()
        synchronize()
    events: Any = profiled.key_averages()
    return sum(event.self_device_time_total for event in events) / 1e6 / seconds


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
        busy = "" if row.busy is None else f"{row.busy:.0%}"
        print(f"| {row.case.name} | {shown(row.rates)} | {ratio} | {share} | {busy} |", flush=True)


def shown(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()) or "not measured"


def synchronize() -> None:
    if speed.device() == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
