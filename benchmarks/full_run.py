"""One full run on hate speech, 1,620 steps of 32 texts and nine evaluations, against the plain loop's time for it.

    python benchmarks/full_run.py --data FOLDER

trains MiniLM-L6 on all of CAD as ``config/hsd-cad-minilm.yaml`` has it and prints the shares of start-up, training,
evaluation and checkpoints from the run's own cost table. The plain loop would take hours: its speed in training and in
evaluation is measured before and after the run, and multiplied.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from basis import ROOT, tokenized
from training_speed import BATCH, CPU_CASES, Case, header, load, parse, plain

# isort: split
import runs

from ftft.compute.batching import TokenizedDataset
from ftft.experiment import config, stages
from ftft.experiment.plan import Plan
from ftft.jobs.environment import Runtime
from ftft.training import loop
from ftft.training.settings import Files

EXPERIMENT = ROOT / "config" / "hsd-cad-minilm.yaml"
CASE = CPU_CASES[0]
MODEL = "minilm-l6"
PLAIN_EVALUATED = 320  # texts that stand for all texts of an evaluation


def main() -> None:
    arguments = parse(__doc__)
    header(arguments.threads)
    plan = Plan(config.load(yaml.safe_load(EXPERIMENT.read_text()) | {"data_dir": str(arguments.data)}))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        CASE.prepare(folder, arguments.data)  # a sample, for the plain loop; the source, for both
        files = inputs(folder, plan, arguments.data)
        plain_loop = [plain_seconds(folder, files, plan)]
        begin = time.perf_counter()
        loop.train(stages.train(plan, MODEL), files, seed=0, runtime=Runtime(progress=False), threads=arguments.threads)
        seconds = time.perf_counter() - begin
        plain_loop.append(plain_seconds(folder, files, plan))
        print("| stage | steps | texts | seconds | share |\n|---|---|---|---|---|")
        for row in pq.read_table(files.cost).to_pylist():
            if row["checkpoint"] == "final":
                work = f"{row['steps']:,} | {row['examples']:,}"
                print(f"| {row['stage']} | {work} | {row['seconds']:.1f} | {row['seconds'] / seconds:.1%} |")
        print(f"| the whole run | | | {seconds:.1f} | 100 % |")
        print(f"\nplain loop: {plain_loop[0]:.0f} s by its speed before the run, {plain_loop[1]:.0f} s after it")
        print(f"the plain loop's time is {sum(plain_loop) / 2 / seconds:.1f} times that of this run")


def inputs(folder: Path, plan: Plan, corpora: Path) -> Files:
    """Tokens of the experiment's train and dev sets."""
    datasets = ("train", *plan.dev_sets.values())
    paths = {dataset: tokenized(plan, dataset, corpora, folder, 300)[1] for dataset in datasets}
    dev = {name: paths[dataset] for name, dataset in plan.dev_sets.items()}
    return runs.files(folder, source=folder / "source", train=paths["train"], dev=dev)


def plain_seconds(folder: Path, files: Files, plan: Plan) -> float:
    """Seconds that the plain loop would take for the run: its steps, and nine evaluations of the dev sets."""
    steps = plan.config.training_of(MODEL).steps
    assert steps is not None
    return steps * BATCH / plain(folder, CASE) + 9 * plain_evaluation(folder, CASE, files)


def plain_evaluation(folder: Path, case: Case, files: Files) -> float:
    """Seconds of one evaluation in batches of 32 in the order of the file, padded to the longest, fp32."""
    model = load(folder, case).eval()
    sets = [TokenizedDataset.read(path) for path in files.dev.values()]
    seconds = 0.0
    for dev in sets:
        # Evenly spread batches stand for all.
        batches = [np.arange(start, min(start + BATCH, len(dev))) for start in range(0, len(dev), BATCH)]
        chosen = batches[:: max(1, len(batches) * BATCH * len(sets) // PLAIN_EVALUATED)]
        begin = time.perf_counter()
        with torch.no_grad():
            for rows in chosen:
                model(**{key: torch.from_numpy(value) for key, value in dev.collate(rows).items()})
        seconds += (time.perf_counter() - begin) * len(batches) / len(chosen)
    return seconds


if __name__ == "__main__":
    main()
