"""The dev scores of an experiment whose models are not all evaluated yet, beside the test scores that are there.

    python benchmarks/dev_table.py CONFIG results/TASK

A dev score is the mean over the OOD dev sets, of the model that a method saves: that of its last step, or with a stop
rule that of its best, which these scores have then chosen. A mean of weights has no dev score, and its cost is that of
the model it is of. Differences are to ERM with the same seed; the interval is that of their mean over seeds, by the t
distribution. Where it is missing, cost_curve.parquet is made by
`snakemake --configfile CONFIG results/TASK/cost_curve.parquet`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))

from ftft.data.schemas import IN_DISTRIBUTION
from ftft.experiment import config
from ftft.experiment.naming import Result
from ftft.experiment.plan import Plan
from ftft.results.schemas import ERM, OOD_MEAN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("results", type=Path, help="its folder of results")
    arguments = parser.parse_args()
    plan = Plan(config.load(yaml.safe_load(arguments.config.read_text(encoding="utf-8"))))
    curve = pd.read_parquet(arguments.results / "cost_curve.parquet")
    curve = curve[(curve["dataset"] == OOD_MEAN) & (curve["metric"] == plan.config.data.metric)]
    rows = pd.DataFrame([row(result, plan, curve, arguments.results) for result in plan.results])
    print(
        "| main | method | reference | OOD dev | to ERM, each seed | to ERM | FLOPs | steps "
        "| OOD test, each seed | to ERM, on these seeds |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (main_model, method, reference), group in rows.groupby(["main", "method", "reference"], sort=False):
        group = group.set_index("seed")
        erm = rows[(rows["main"] == main_model) & (rows["method"] == ERM)].set_index("seed")
        cells = [main_model, method, reference]
        cells += ["", "", ""] if group["dev"].isna().all() else [spread(group["dev"]), *differences(group, erm, "dev")]
        costs = [f"{100 * (group['flops'] / erm['flops']).mean():.1f}", f"{group['step'].mean():,.0f}"]
        cells += ["", ""] if group["flops"].isna().all() else costs
        tests = group["test"].dropna()
        cells.append(f"{tests.mean():.2f}: {', '.join(f'{score:.1f}' for score in tests)}" if len(tests) else "")
        cells.append(differences(group, erm, "test")[1])
        print(f"| {' | '.join(cells)} |")


def row(result: Result, plan: Plan, curve: pd.DataFrame, results: Path) -> dict[str, object]:
    """Scores in percent of one method with one seed, and what it cost; a score is NaN where it is not there."""
    key = {name: getattr(result, name) for name in ("main", "method", "reference", "seed")}
    points = curve[np.logical_and.reduce([curve[name] == value for name, value in key.items()])].sort_values("step")
    scores = {"dev": np.nan, "test": np.nan, "flops": np.nan, "step": np.nan}
    if len(points):
        dev = points["value"].max() if plan.methods[result.method].stop else points["value"].iloc[-1]
        scores |= {"dev": 100 * dev, "flops": points["flops"].iloc[-1], "step": points["step"].iloc[-1]}
    path = results / "evaluation" / result.run.path / result.checkpoint / "metrics.parquet"
    if path.exists():
        table = pd.read_parquet(path)
        ood = table[(table["metric"] == plan.config.data.metric) & (table["dataset"] != IN_DISTRIBUTION)]
        scores["test"] = 100 * ood["value"].mean()
    return key | scores


def spread(scores: "pd.Series[float]") -> str:
    return f"{scores.mean():.2f} ± {scores.std():.2f}"


def differences(group: pd.DataFrame, erm: pd.DataFrame, score: str) -> list[str]:
    """The difference to ERM with each seed, and their mean with its interval where there are two, as text."""
    points = (group[score] - erm[score]).dropna()
    if (points == 0).all():  # ERM itself
        return ["", ""]
    cells = [", ".join(f"{value:+.1f}" for value in points), f"{points.mean():+.2f}"]
    if len(points) > 1:
        half = stats.t.ppf(0.975, len(points) - 1) * points.std() / len(points) ** 0.5
        cells[1] += f" [{points.mean() - half:+.2f}, {points.mean() + half:+.2f}]"
    return [cell.replace("-", "\N{MINUS SIGN}") for cell in cells]


if __name__ == "__main__":
    main()
