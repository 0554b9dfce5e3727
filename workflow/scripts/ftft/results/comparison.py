"""The comparison: the mean score of every method and its difference to ERM, each with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ftft.core.artifacts import damaged, read_table
from ftft.data.schemas import IN_DISTRIBUTION, check_labels
from ftft.evaluation import metrics
from ftft.results import statistics
from ftft.results.entries import Entry
from ftft.results.schemas import COMPARISON, ERM, OOD_MEAN
from ftft.results.writing import write_both

Floats = NDArray[np.float64]


@dataclass
class Scores:
    """Scores of R runs on one dataset (or their mean over several): as they are, (R,), and resampled, (R, B)."""

    found: Floats
    resampled: Floats


def compare(
    entries: Sequence[Entry],
    output_parquet: str | Path,
    output_csv: str | Path,
    *,
    resamples: int = statistics.RESAMPLES,
) -> None:
    """Write one row per main model, method, reference, dataset and metric (accuracy and macro-F1), in that order.

    The OOD sets' mean comes before the datasets. Examples of one set are drawn in the same way for all runs, those of
    different sets independently, so the draws depend on nothing but the set's name and size. Runs are compared with
    ERM's of the same main model and seed; ``statistics`` says what the intervals cover.

    Args:
        entries: all runs of the experiment.
        output_parquet, output_csv: the same table twice.
        resamples: number of bootstrap resamples.

    Raises:
        UserError: predictions of one dataset are not of the same examples.
    """
    datasets = sorted(entries[0]["predictions"], key=lambda name: (name != IN_DISTRIBUTION, name))
    scores: dict[tuple[str, str], Scores] = {}
    for dataset in datasets:
        for metric, found in _scores(entries, dataset, resamples).items():
            scores[dataset, metric] = found
    ood = [name for name in datasets if name != IN_DISTRIBUTION]
    measured = sorted({metric for _, metric in scores})
    if ood:
        for metric in measured:
            sets = [scores[name, metric] for name in ood]
            scores[OOD_MEAN, metric] = Scores(
                np.mean([each.found for each in sets], axis=0), np.mean([each.resampled for each in sets], axis=0)
            )

    rows = [
        names | {"dataset": dataset, "metric": metric} | _row(runs, scores[dataset, metric], resamples)
        for names, runs in _methods(entries)
        for dataset in [*([OOD_MEAN] if ood else []), *datasets]
        for metric in measured
    ]
    write_both(pa.Table.from_pylist(rows, COMPARISON), output_parquet, output_csv, COMPARISON)


def _scores(entries: Sequence[Entry], dataset: str, resamples: int) -> dict[str, Scores]:
    path = entries[0]["predictions"][dataset]
    first = read_table(path, ["uid", "label", "logits"])
    labels = first["label"].to_numpy()
    if not pa.types.is_fixed_size_list(first["logits"].type) or not len(labels):
        raise damaged(path, "it has no logits")
    n_labels = first["logits"].type.list_size
    check_labels(path, labels, n_labels)
    predicted = np.stack([_predicted(entry["predictions"][dataset], first) for entry in entries])
    rng = np.random.default_rng([0, *dataset.encode()])
    resampled = statistics.resampled_scores(labels, predicted, n_labels, resamples=resamples, rng=rng)
    found = {
        "accuracy": [metrics.accuracy(labels, each) for each in predicted],
        "macro_f1": [metrics.macro_f1(labels, each, n_labels) for each in predicted],
    }
    return {metric: Scores(np.array(found[metric]), values) for metric, values in resampled.items()}


def _predicted(path: str | Path, first: pa.Table) -> NDArray[np.int64]:
    """(N,) predicted class indices."""
    table = read_table(path, ["uid", "label", "logits"])
    if table["logits"].type != first["logits"].type:
        raise damaged(path, f"its logits are {table['logits'].type}, and the other runs' {first['logits'].type}")
    if not (table["uid"].equals(first["uid"]) and table["label"].equals(first["label"])):
        raise damaged(path, "its examples are not those of the other runs' predictions")
    logits = pc.list_flatten(table["logits"]).to_numpy().reshape(table.num_rows, -1)
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise damaged(path, f"the logits in row {finite.argmin()} are not finite")
    return logits.argmax(axis=1)


def _methods(entries: Sequence[Entry]) -> list[tuple[dict[str, str], list[tuple[int, int | None]]]]:
    """Every method with the numbers of its runs by rising seed, each with that of the ERM it is compared with."""
    of_erm = {(entry["main"], entry["seed"]): number for number, entry in enumerate(entries) if entry["method"] == ERM}
    methods: dict[tuple[str, ...], list[int]] = {}
    for number, entry in enumerate(entries):
        methods.setdefault((entry["task"], entry["main"], entry["method"], entry["reference"]), []).append(number)
    found = []
    for key, numbers in methods.items():
        names = dict(zip(("task", "main", "method", "reference"), key, strict=True))
        runs = []
        for number in sorted(numbers, key=lambda number: entries[number]["seed"]):
            other = of_erm.get((names["main"], entries[number]["seed"]))
            runs.append((number, None if names["method"] == ERM else other))
        found.append((names, runs))
    return found


def _row(runs: list[tuple[int, int | None]], scores: Scores, resamples: int) -> dict[str, float | int | None]:
    numbers = [number for number, _ in runs]
    # Seeds are drawn in the same way for every method and dataset.
    weights = statistics.seed_weights(len(runs), resamples, np.random.default_rng([0, len(runs)]))
    row: dict[str, float | int | None] = {"seeds": len(runs)}
    row |= _described("", scores.found[numbers], scores.resampled[numbers], weights)
    others = [other for _, other in runs if other is not None]
    if len(others) == len(runs):
        found = scores.found[numbers] - scores.found[others]
        row |= _described("difference_", found, scores.resampled[numbers] - scores.resampled[others], weights)
    return row


def _described(prefix: str, found: Floats, resampled: Floats, weights: Floats) -> dict[str, float | None]:
    """Mean, deviation over seeds and interval of (n,) values that are (n, B) resampled."""
    mean, sd = statistics.mean_and_sd(found)
    low, high = statistics.interval((weights * resampled).sum(axis=0))
    # Sums of fractions that are zero come out as 1e-16; twelve digits are exact, and minus zero is zero.
    mean, low, high = (round(float(value), 12) + 0.0 for value in (mean, low, high))
    return {
        prefix.rstrip("_") or "mean": mean,
        f"{prefix}sd": None if np.isnan(sd) else sd,
        f"{prefix}low": low,
        f"{prefix}high": high,
    }
