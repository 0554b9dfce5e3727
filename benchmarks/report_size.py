"""How large the page is and how long it takes to write, at the size of MultiNLI.

    python benchmarks/report_size.py

The results are made up: 392,702 pairs of random words about as long as MultiNLI's, and training dynamics of four epochs
and three models for each seed. Random words compress less than sentences do.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "workflow/scripts"), str(ROOT / "tests")]

import generated

from ftft.display import webpage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=392_702)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 4], help="numbers of seeds")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for seeds in arguments.seeds:
        plan = generated.experiment(seeds)
        with tempfile.TemporaryDirectory() as name:
            generated.write(plan, Path(name), arguments.rows)
            page = generated.page_arguments(plan, Path(name))
            seconds = [written(page) for _ in range(arguments.rounds)]
            size = page["output"].stat().st_size / 1e6
        maps = len(page["told"]["datamaps"])
        print(
            f"{arguments.rows:,} examples, {maps} data maps: {size:.1f} MB in {statistics.median(seconds):.1f} s "
            f"(median of {arguments.rounds})",
            flush=True,
        )


def written(page: dict[str, Any]) -> float:
    begin = time.perf_counter()
    webpage.write(**page)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
