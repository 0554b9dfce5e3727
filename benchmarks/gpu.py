"""Whether training on a GPU is right, how fast it is, and what it gives: one command, eight minutes on one H100.

    python benchmarks/gpu.py --data FOLDER

runs four parts, each a process of its own, and prints the table of each as it comes: what was correct, how fast
training is beside the Hugging Face Trainer, how many trainings one device bears side by side, and a real experiment
with as many seeds as the time left allows. What was printed is also in the file --out, so that nothing is lost when it
is cut off. `--smoke` does the same on a few texts, on a CPU too.
"""

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

FOLDER = Path(__file__).parent / "on_gpu"
# The parts in their order, and the share of the time left that each may take at most.
PARTS = {"correct": 0.35, "fast": 0.55, "shared": 0.5, "experiment": 1.0}


def main() -> None:
    arguments = parse()
    deadline = time.monotonic() + 60 * arguments.minutes
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    with arguments.out.open("w", encoding="utf-8") as copy:
        for part in arguments.parts:
            seconds = max(deadline - time.monotonic(), 1) * PARTS[part]
            say(f"\n## {part.capitalize()}\n", copy)
            if run(part, seconds, arguments, copy):
                failed.append(part)
    if failed:
        sys.exit(f"not everything is right: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with the corpora")
    parser.add_argument("--minutes", type=float, default=8.0, help="stop after so many")
    parser.add_argument("--out", type=Path, default=Path("results/gpu.md"), help="file that gets what is printed")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--smoke", action="store_true", help="a few texts: whether it runs, not how fast")
    return parser.parse_args()


def run(part: str, seconds: float, arguments: argparse.Namespace, copy: TextIO) -> bool:
    """Run one part for so many seconds at most, handing on its lines as they come; True if something was wrong."""
    command = [sys.executable, "-u", str(FOLDER / f"{part}.py"), "--data", str(arguments.data)]
    command += ["--seconds", f"{seconds:.0f}", *(["--smoke"] if arguments.smoke else [])]
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        # Each part keeps to its time; this is for one that hangs.
        watch = threading.Timer(seconds * 1.2 + 30, process.kill)
        watch.start()
        try:
            for line in process.stdout or ():
                say(line.rstrip("\n"), copy)
        finally:
            watch.cancel()
    say(f"\n({part}: {time.monotonic() - begin:.0f} s)", copy)
    if process.returncode < 0:
        say(f"{part} was cut off", copy)
    return process.returncode != 0


def say(line: str, copy: TextIO) -> None:
    print(line, flush=True)
    print(line, file=copy, flush=True)


if __name__ == "__main__":
    main()
