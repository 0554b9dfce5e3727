"""How long Snakemake plans: the paper's NLI experiment at its widest, and a finished demo.

    python benchmarks/planning.py

The widest experiment has nine models as references, three of them as main models, every selection and method, and four
seeds. The demo is run to its end first, which takes minutes, unless --finished names a folder where that was done.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
STOP = {"monitor": "ood_dev", "patience": 2}
MAINS = ("deberta-v3-base", "electra-base", "deberta-v3-large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=Path, help="working folder with a finished demo")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "widest.yaml").write_text(yaml.safe_dump(widest()))
        report(folder, "the paper's NLI experiment at its widest", arguments.rounds, "--configfile", "widest.yaml")
        demo = arguments.finished or folder / "demo"
        config = ("--configfile", str(ROOT / "config/config.yaml"))
        if not arguments.finished:
            demo.mkdir()
            snakemake(demo, *config)
        report(demo, "a finished demo", arguments.rounds, *config)


def widest() -> dict[str, Any]:
    """The paper's NLI experiment with more main models and every method."""
    config = yaml.safe_load((ROOT / "config/paper/nli.yaml").read_text())
    config["references"] = list(config["models"])
    config["mains"] = list(MAINS)
    methods: dict[str, dict[str, Any]] = {"erm": {}, "erm_stop": {"stop": STOP}}
    for by in ("random", "ambiguous", "hard", "easy"):
        select = {"select": {"by": by, "fraction": 0.33}}
        methods |= {by: select, f"{by}_stop": select | {"stop": STOP}}
    config["methods"] = methods
    return config


def snakemake(folder: Path, *arguments: str) -> str:
    """Run Snakemake on this workflow; returns what it printed."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def report(folder: Path, what: str, rounds: int, *arguments: str) -> None:
    """Time dry runs and print the median."""
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        printed = snakemake(folder, "--dry-run", "--quiet", "rules", *arguments)
        seconds.append(time.perf_counter() - begin)
    jobs = re.findall(r"^total +([0-9]+)$", printed, re.MULTILINE)
    found = f"{jobs[0]} jobs" if jobs else "nothing to be done"
    print(f"{what}: {found}, {statistics.median(seconds):.1f} s (median of {rounds})", flush=True)


if __name__ == "__main__":
    main()
