"""How far the references of an experiment rank the train set alike, and what each of them un-learns.

    python benchmarks/agreement.py results/TASK

after `snakemake ... -- transfer`. Prints two tables, in percent, or writes them to PREFIX-agreement.csv and
PREFIX-unlearned.csv for docs/results_tables.py. The first has pairs of references with the same seed, and each
reference with itself over pairs of seeds, which is as much as can be expected of others: Spearman's rank correlation of
the variability, and the Jaccard overlap of the ambiguous thirds (20 for random ones), means and extremes. The second
has means over seeds: the probability of the gold label in the first and the last complete epoch, by region of the
reference's own data map, and the share of examples for which it fell; the share that was right at one epoch and wrong
at the next; and of the planted task, how many of each kind are in the ambiguous third.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))

from ftft.dynamics.artifact import read_dynamics
from ftft.dynamics.datamap import REGIONS
from ftft.dynamics.measures import gold_values, softmax
from ftft.dynamics.ranking import first
from ftft.experiment.config import Select

FRACTION: float = Select.model_fields["fraction"].default


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of an experiment's results")
    parser.add_argument("--csv", metavar="PREFIX", help="beginning of the names of CSV files to write")
    arguments = parser.parse_args()
    tables = {
        "agreement": pairs(pd.read_parquet(arguments.results / "transfer.parquet")),
        "unlearned": unlearned(arguments.results),
    }
    for name, table in tables.items():
        if arguments.csv:
            table.to_csv(f"{arguments.csv}-{name}.csv", index=False)
        else:
            print(table.to_string(index=False), end="\n\n")


def pairs(transfer: pd.DataFrame) -> pd.DataFrame:
    """One row per two references with the same seed, and per reference with two seeds, as text."""
    references = list(dict.fromkeys(transfer["reference"]))
    rows = []
    for one, other in itertools.combinations_with_replacement(references, 2):
        chosen = transfer[(transfer["reference"] == one) & (transfer["other"] == other)]
        same = chosen["seed"] == chosen["other_seed"]
        chosen = chosen[chosen["seed"] < chosen["other_seed"]] if one == other else chosen[same]
        if len(chosen):
            rows.append(
                {
                    "references": f"{one}, two seeds" if one == other else f"{one} and {other}",
                    "pairs": len(chosen),
                    "rank correlation": spread(chosen["rank_correlation"]),
                    "ambiguous overlap": spread(chosen["ambiguous_overlap"]),
                }
            )
    return pd.DataFrame(rows)


def unlearned(results: Path) -> pd.DataFrame:
    """One row per reference: how its probability of the gold label moves, means over seeds in percent."""
    data = pd.read_parquet(results / "data/train.parquet")
    rows = []
    runs = pd.read_parquet(results / "references.parquet", columns=["reference", "seed"])
    for reference, seed in runs.itertuples(index=False):
        probability = gold(results / f"reference/{reference}/seed{seed}", data["label"].to_numpy())
        datamap = pd.read_parquet(results / f"datamap/{reference}/seed{seed}.parquet")
        rows.append({"reference": reference} | moves(datamap, data, probability))
    return pd.DataFrame(rows).groupby("reference", sort=False).mean().round(1).reset_index()


def gold(run: Path, labels: np.ndarray) -> np.ndarray:
    """The (E, N) probabilities of the gold label in a run."""
    logits = read_dynamics(run / "dynamics.parquet", len(labels))
    return gold_values(softmax(logits.astype(np.float64)), labels)


def moves(datamap: pd.DataFrame, data: pd.DataFrame, probability: np.ndarray) -> dict[str, float]:
    """How the probability of the gold label moves in one run, in percent."""
    row: dict[str, float] = {}
    for region in REGIONS:
        chosen = (datamap["region"] == region).to_numpy()
        ends = pd.DataFrame({"first": probability[0], "last": probability[-1]}).loc[chosen]
        row |= {f"{region}: {end}": 100 * float(ends[end].mean()) for end in ends}  # NaN where the region is empty
        row[f"{region}: fell"] = 100 * float((ends["last"] < ends["first"]).mean())
    row["forgotten"] = 100 * float((datamap["forgetting"].between(1, len(probability) - 1)).mean())
    ambiguous = first(datamap["uid"], datamap["variability"], FRACTION, descending=True)
    for kind in sorted(data["kind"].unique()) if "kind" in data else []:
        row[f"{kind}: ambiguous"] = 100 * float(ambiguous[data["kind"] == kind].mean())
    return row


def spread(values: "pd.Series[float]") -> str:
    low, mean, high = (100 * value for value in (values.min(), values.mean(), values.max()))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})".replace("-", "\N{MINUS SIGN}") if len(values) > 1 else f"{mean:.1f}"


if __name__ == "__main__":
    main()
