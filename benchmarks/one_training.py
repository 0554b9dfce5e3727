"""A training as a job does it, in a process that imports nothing else; the last line is its peak memory in MB.

    python benchmarks/one_training.py < settings.json

is started by ``benchmarks/memory.py --forecast`` with the ``folder``, in which source and tokens lie, and with what
``loop.train`` takes as ``cfg`` and ``threads``.
"""

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("workflow/scripts", "tests")]

import runs

from ftft.compute.cost import peak_memory_mb
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.training import loop

if __name__ == "__main__":
    given = json.load(sys.stdin)
    folder = Path(given["folder"])
    tokens = folder / "tokens.parquet"
    files = runs.files(folder, source=folder / "source", train=tokens, dev={IN_DISTRIBUTION: tokens})
    loop.train(given["cfg"], files, seed=0, runtime=runs.ON_CPU, threads=given["threads"])
    print(peak_memory_mb())
