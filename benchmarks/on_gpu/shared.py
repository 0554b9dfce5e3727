"""How many trainings of MiniLM-L6 one device bears side by side: examples per second of all together.

    python benchmarks/on_gpu/shared.py --data FOLDER

Each training is a process. All warm up, wait for the last, and are then counted for the same few seconds.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import options, parse

# isort: split
import torch
import training_speed as speed
from basis import device

TOGETHER = (1, 2, 4, 8)
SECONDS = 6.0


def main() -> None:
    if sys.argv[1] == "one":
        return one(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), smoke=sys.argv[5] == "smoke")
    arguments = parse(options(__doc__))
    case, seconds = (speed.SMOKE, 1.0) if arguments.smoke else (speed.CPU_CASES[0], SECONDS)
    if arguments.smoke:
        speed.TEXTS = 256
    print(
        "| trainings | examples per second together | to one alone | memory of each, MB |\n|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        case.prepare(Path(name), arguments.data)
        alone = 0.0
        for count in TOGETHER[: 2 if arguments.smoke else None]:
            if time.monotonic() > arguments.deadline:
                print(f"| {count} | not measured: the time was over | | |")
                break
            rates, memory = together(Path(name), count, seconds, smoke=arguments.smoke)
            alone = alone or sum(rates)
            print(f"| {count} | {sum(rates):,.0f} | {sum(rates) / alone:.2f} | {max(memory):,.0f} |", flush=True)


def together(folder: Path, count: int, seconds: float, *, smoke: bool) -> tuple[list[float], list[float]]:
    """Examples per second and peak memory of each of so many processes that train at the same time."""
    for mark in folder.glob("*.ready"):
        mark.unlink()
    (folder / "go").unlink(missing_ok=True)
    command = [sys.executable, __file__, "one", str(folder)]
    ends = [str(seconds), "smoke" if smoke else "whole"]
    jobs = [
        subprocess.Popen([*command, f"{count}-{number}", *ends], stdout=subprocess.PIPE, text=True)
        for number in range(count)
    ]
    while len(list(folder.glob("*.ready"))) < count and all(job.poll() is None for job in jobs):
        time.sleep(0.05)
    (folder / "go").touch()
    found = [(job.communicate()[0] or "0 0").split() for job in jobs]
    return [float(rate) for rate, _ in found], [float(memory) for _, memory in found]


def one(folder: Path, name: str, seconds: float, *, smoke: bool) -> None:
    """One training: warm up, say so, wait for the others, and count; it ends with the process that started it."""
    parent = os.getppid()
    if smoke:
        speed.TEXTS = 256
    torch.set_num_threads(1)
    run = speed.start(folder, speed.SMOKE if smoke else speed.CPU_CASES[0])
    for _ in range(run.steps - 1):  # passes of all shapes are recorded
        run.advance()
    run.journal.losses.clear()
    (folder / f"{name}.ready").touch()
    while not (folder / "go").exists():
        if os.getppid() != parent:
            return
        time.sleep(0.01)
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        run.state.step %= run.steps - 1
        run.advance()
        steps += 1
        speed.synchronize()  # or a queue of work would be counted that is not done yet
    rate = steps * speed.BATCH / (time.perf_counter() - begin)
    memory = torch.cuda.max_memory_reserved() / 1e6 if device() == "cuda" else 0.0
    print(rate, memory)


if __name__ == "__main__":
    main()
