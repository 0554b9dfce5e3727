"""How much memory a run takes on a CPU, what bounding it does to its speed, and how right its forecast is.

    python benchmarks/memory.py --data FOLDER

trains MiniLM-L6 on 1,600 posts, each variant in a process of its own, in turns. Seconds are those of the processor, as
other work on the machine changes them less than the clock's; ratios are taken within a round.

    python benchmarks/memory.py --data FOLDER --forecast

trains models of several shapes for twenty steps, each in a process of its own, beside what the forecast says of them;
and says it of four that were measured on a GPU.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import training_speed as speed
from training_speed import (
    BATCH,
    CPU_CASES,
    GPU_CASES,
    LABELS,
    MINILM,
    TEXTS,
    Case,
    machine,
    options,
    settings,
    shape,
    start,
)

from ftft.compute import batching, devices
from ftft.compute.cost import peak_memory_mb
from ftft.results.machine import Machine
from ftft.results.memory_count import needed
from ftft.results.replay import replay

CASE = CPU_CASES[0]
STEPS = 20  # a training that is held against its forecast has so many
SHAPES = [
    Case("next to nothing, posts", "single", shape("bert", 1, 16, 2, 200)),
    *CPU_CASES[:2],
    Case("BERT, 4 layers, 256 wide, pairs", "pairs", shape("bert", 4, 256, 4, 8_000)),
    Case("DeBERTa, 3 layers, 128 wide, posts", "single", shape("deberta-v2", 3, 128, 4, 8_000)),
    Case("Llama, 6 layers, 576 wide, posts", "single", shape("llama", 6, 576, 9, 16_000)),
    Case("MiniLM-L6 with an adapter, posts", "single", MINILM, 6, tune="lora"),
]
# GB that benchmarks/on_gpu/fast.py measured on an NVIDIA H200, with so many texts.
GPU_TEXTS = 960
ON_GPU = [(CPU_CASES[0], 2.9), (GPU_CASES[1], 3.8), (GPU_CASES[2], 7.3), (GPU_CASES[3], 19.4)]
# Whether memory is bounded: passes over long texts have fewer tokens, freed memory goes back to the system, and oneDNN
# is left out in fp32.
VARIANTS = {"as it is": True, "unbounded": False}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--forecast", action="store_true", help="hold forecasts against what was measured")
    arguments = parser.parse_args()
    if arguments.forecast:
        forecasts(arguments.data, arguments.threads)
        return
    print(f"{machine()}, {arguments.threads} threads, PyTorch {torch.__version__}, {TEXTS:,} texts\n")
    print("| variant | peak memory (MB) | seconds, unbounded = 1 |\n|---|---|---|")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        CASE.prepare(folder, arguments.data)
        fresh = multiprocessing.get_context("spawn")
        for _ in range(arguments.rounds):
            for variant, bounded in VARIANTS.items():
                with ProcessPoolExecutor(1, mp_context=fresh) as process:
                    found[variant].append(process.submit(run, folder, arguments.threads, bounded).result())
    for variant, values in found.items():
        ratios = [each[1] / other[1] for each, other in zip(values, found["unbounded"], strict=True)]
        print(f"| {variant} | {max(value[0] for value in values):,.0f} | {statistics.median(ratios):.3f} |")


def run(folder: Path, threads: int, bounded: bool) -> tuple[float, float]:
    """The largest memory of a training of one epoch, and the processor's seconds for it."""
    torch.set_num_threads(threads)
    training = start(folder, CASE, device="cpu")
    if not bounded:
        batching.ATTENTION_LENGTH = 10**9
        devices.give_back_memory = lambda device: None  # noqa: ARG005
        torch.backends.mkldnn.set_flags(True)
    begin = time.process_time()
    while training.state.step < training.steps:
        training.advance()
    return peak_memory_mb(), time.process_time() - begin


def forecasts(data: Path, threads: int) -> None:
    """Print forecast and measured peak of each shape: of those on a CPU measured here, of those on a GPU before."""
    print("| model, texts | largest pass | forecast (MB) | measured (MB) | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for number, case in enumerate(SHAPES):
            folder = Path(name) / str(number)
            said = foreseen(folder, case, data, STEPS * BATCH)
            line(case.name, said, measured(folder, case, threads))
        for number, (case, peak) in enumerate(ON_GPU, len(SHAPES)):
            line(f"{case.name}, H200", foreseen(Path(name) / str(number), case, data, GPU_TEXTS, gpu=1), 1e3 * peak)


def foreseen(folder: Path, case: Case, data: Path, texts: int, *, gpu: int = 0) -> dict[str, Any]:
    """Prepare a case; returns the row of the forecast of a training on so many of its texts."""
    speed.TEXTS = texts
    case.prepare(folder, data)
    given = settings(case)
    training = {name: given[name] for name in ("budget", "features", "hidden_size", "lora", "tune")} | {
        "seed": 0,
        "settings": given["training"],
        "labels": len(LABELS[case.kind]),
        "select": None,
        "kept": 0,
    }
    places = {"source": folder / "source", "tokens": folder / "tokens.parquet"}
    work: Any = {"job": {"model": "model", "layers": case.layers, "training": training} | places}
    machine = Machine({"model": gpu})
    found: dict[str, Any] = needed(work, replay(work, machine), machine).to_pylist()[0]
    return found


def measured(folder: Path, case: Case, threads: int) -> float:
    """The largest memory of the training, in MB."""
    cfg = settings(case)
    cfg["training"] |= {"evaluate_every": STEPS}
    given = json.dumps({"folder": str(folder), "cfg": cfg, "threads": threads})
    script = Path(__file__).with_name("one_training.py")
    done = subprocess.run([sys.executable, script], input=given, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def line(name: str, said: dict[str, Any], peak: float) -> None:
    """Print a row."""
    shape, total = f"{said['batch']} x {said['length']}", said["total_mb"]
    print(f"| {name}, {said['precision']} | {shape} | {total:,.0f} | {peak:,.0f} | {total / peak:.2f} |", flush=True)


if __name__ == "__main__":
    main()
