"""How much memory a run takes on a CPU, and what bounding it does to its speed.

    python benchmarks/memory.py --data FOLDER

trains MiniLM-L6 on 1,600 posts, each variant in a process of its own, in turns. Seconds are those of the processor, as
other work on the machine changes them less than the clock's; ratios are taken within a round.
"""

import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from training_speed import CPU_CASES, TEXTS, machine, parse, start

from ftft.compute import batching, devices
from ftft.compute.cost import peak_memory_mb

CASE = CPU_CASES[0]
# Whether memory is bounded: passes over long texts have fewer tokens, freed memory goes back to the system, and oneDNN
# is left out in fp32.
VARIANTS = {"as it is": True, "unbounded": False}


def main() -> None:
    arguments = parse(__doc__)
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


if __name__ == "__main__":
    main()
