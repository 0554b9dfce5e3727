"""A real experiment on a device: hate speech from CAD to DynaHate, as its configuration has it, run by Snakemake.

    python benchmarks/on_gpu/experiment.py --data FOLDER [--config CONFIG OVERLAY…] [--together SEEDS] [--share SHARE]

Several jobs share the device. Two seeds at once, then as many more as the time allows: if it is over before all are
done, the table has those that are. What it made stays in results/gpu, so the next call goes on from there.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import options, parse

# isort: split
import yaml
from basis import ROOT, device
from snakemake.utils import update_config
from training_speed import MINILM

from ftft.experiment import config
from ftft.experiment.plan import Plan

EXPERIMENT = ROOT / "config" / "hsd-cad-budget.yaml"
SMOKE = {"steps": 18, "evaluate_every": 6, "max_length": 32, "batch_size": 8}
TO_END = 20.0  # seconds for the tables, and for jobs that are told to stop


def main() -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--config", type=Path, nargs="+", default=[EXPERIMENT], help="an experiment and what is laid over it"
    )
    parser.add_argument("--together", type=int, default=2, help="seeds at once; the next ones where the time allows")
    parser.add_argument(
        "--share",
        type=float,
        default=0.125,
        choices=[1, 0.5, 0.25, 0.125],
        help="of the device that each training gets; models of a hundred million weights and more want half of it",
    )
    arguments = parse(parser)
    out = ROOT / "results" / ("gpu-smoke" if arguments.smoke else "gpu")
    experiment: dict[str, Any] = {}
    for file in arguments.config:
        update_config(experiment, yaml.safe_load(file.read_text(encoding="utf-8")))
    experiment = changed(experiment, arguments.data, arguments.share)
    if arguments.smoke:
        experiment = small(experiment)
    begin, seeds = time.monotonic(), experiment["seeds"]
    for count in range(arguments.together, len(seeds) + arguments.together, arguments.together):
        experiment["seeds"] = seeds[:count]
        if not snakemake(out, experiment, "summary", arguments.deadline - time.monotonic() - TO_END):
            experiment["seeds"] = finished(out, experiment)
            print(f"The time was over when {len(experiment['seeds'])} seeds were done.\n", flush=True)
            if not experiment["seeds"] or not snakemake(out, experiment, "summary", 60.0):
                sys.exit("no table without a whole seed")
            break
    seconds = time.monotonic() - begin
    print((out / "results" / experiment["task"] / "summary.txt").read_text(encoding="utf-8"))
    print(f"{seconds:.0f} s with Snakemake, on {os.cpu_count()} cores")


def changed(experiment: dict[str, Any], data: Path, share: float) -> dict[str, Any]:
    """The experiment with this machine's data, model and device."""
    resources = {"threads": 1, "gpu": share if device() == "cuda" else 0}
    for model in experiment["models"].values():
        if "package" in model:
            for key in ("package", "path", "sha256"):
                model.pop(key)
            model |= MINILM
        elif "path" in model:  # Snakemake runs in another folder
            model["path"] = str(Path(model["path"]).resolve())
        model["resources"] = resources
    return experiment | {"data_dir": str(data.resolve())}


def small(experiment: dict[str, Any]) -> dict[str, Any]:
    """The same experiment on the first few texts, with one head, one seed and few steps."""
    for source in sources(experiment["data"]):
        source["rows"] = 64
    models = {name: model | {"layers": 1} for name, model in experiment["models"].items()}
    changes = {"training": experiment["training"] | SMOKE, "references": ["head-l1"], "models": models, "seeds": [0]}
    return experiment | changes


def sources(section: Any) -> list[dict[str, Any]]:
    """Every data source of a configuration."""
    if not isinstance(section, dict):
        return []
    return [section] if "path" in section else [found for value in section.values() for found in sources(value)]


def snakemake(out: Path, experiment: dict[str, Any], target: str, seconds: float) -> bool:
    """Bring a target up to date in so many seconds; whether it is."""
    out.mkdir(parents=True, exist_ok=True)
    locked = any((out / ".snakemake/locks").glob("*"))  # a call that was killed has left it so
    for arguments in ([["--unlock"]] if locked else []) + [[target]]:
        (out / "experiment.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile")]
        command += ["--directory", str(out), "--configfile", str(out / "experiment.yaml")]
        # The other scheduler needs a solver, which a bare machine does not have.
        command += [
            "--cores",
            str(os.cpu_count()),
            "--scheduler",
            "greedy",
            "--keep-going",
            "--quiet",
            "rules",
            "progress",
        ]
        log = (out / "snakemake.log").open("a", encoding="utf-8")
        with log, subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                return False
    if process.returncode:
        print((out / "snakemake.log").read_text(encoding="utf-8")[-3000:], file=sys.stderr)
        sys.exit(f"Snakemake failed; all that it said: {out / 'snakemake.log'}")
    return True


def finished(out: Path, experiment: dict[str, Any]) -> list[int]:
    """The seeds of which every model is evaluated."""
    plan = Plan(config.load(experiment))
    folder = out / "results" / plan.config.task / "evaluation"
    left = {
        result.seed
        for result in plan.results
        if not (folder / result.run.path / result.checkpoint / "metrics.parquet").exists()
    }
    return [seed for seed in plan.config.seeds if seed not in left]


if __name__ == "__main__":
    main()
