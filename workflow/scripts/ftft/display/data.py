"""What the figures plot: computed once, and drawn for the page (``charts``) and for papers (``figures``)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ftft.results.overview import costs, headline
from ftft.results.pareto import pareto_front
from ftft.results.schemas import ERM, OOD_MEAN


@dataclass(frozen=True)
class Curves:
    """Dev scores in training.

    Attributes:
        rows: method, reference, seed and step; ``score`` in percent; ``flops`` and ``seconds`` in percent of the
            ERM's whole training (mean over seeds), where there is one, else as they were measured.
        end: ERM's score at its end (mean over seeds) in percent; None where there is no ERM.
        where: what the scores are of, ``mean OOD dev`` or ``dev``.
    """

    rows: pd.DataFrame
    end: float | None
    where: str

    @property
    def relative(self) -> bool:
        """Whether the costs are in percent of ERM's."""
        return self.end is not None


def curves(cost_curve: pa.Table, main: str, metric: str) -> Curves:
    """The dev scores of one main model's methods, by what they had cost by then.

    Args:
        cost_curve: a table as ``cost_curve.trace`` writes it.
        main: the main model.
        metric: ``accuracy`` or ``macro_f1``.
    """
    rows = cost_curve.to_pandas()
    rows = rows[(rows["main"] == main) & (rows["metric"] == metric)]
    ends = rows[rows["method"] == ERM].groupby("seed").tail(1)
    where = "mean OOD dev" if (rows["dataset"] == OOD_MEAN).all() else "dev"
    rows = rows.assign(score=100 * rows["value"])
    if ends.empty:
        return Curves(rows, None, where)
    units = {name: ends[name].mean() / 100 for name in ("flops", "seconds")}
    rows = rows.assign(**{name: rows[name] / unit for name, unit in units.items()})
    return Curves(rows, 100 * ends["value"].mean(), where)


@dataclass(frozen=True)
class Robustness:
    """Test scores against cost.

    Attributes:
        points: for every (method, reference), ``score`` and ``sd`` over seeds in percent, ``FLOPs`` and ``seconds``,
            and ``best``: whether no other has as good a score for as few FLOPs.
        heading: what the scores are of, as in the overview.
        relative: whether the costs are in percent of ERM's.
    """

    points: pd.DataFrame
    heading: str
    relative: bool


def robustness(summary: pa.Table, overview: pd.DataFrame, main: str) -> Robustness:
    """The scores that rank one main model's methods, and what these cost.

    Args:
        summary: a table as ``summary.summarize`` writes it.
        overview: made from it.
        main: the main model.
    """
    cost, relative = costs(summary, overview, main)
    heading = headline(overview)
    scores = overview.xs(main, level="main")[heading]
    points = cost.assign(score=100 * scores["mean"], sd=100 * scores["sd"])
    points["best"] = pareto_front(points["FLOPs"], points["score"])
    return Robustness(points, heading, relative)


@dataclass(frozen=True)
class Agreement:
    """How far the data maps of reference runs agree.

    Attributes:
        runs: the names of the runs, each a model and a seed.
        verdicts: the verdict on each.
        pairs: for every measure, (R, R) numbers: of the run of the row with that of the column; NaN on the diagonal and
            where there is none.
    """

    runs: list[tuple[str, int]]
    verdicts: list[str]
    pairs: dict[str, NDArray[np.float64]]


MEASURES = ("rank_correlation", "ambiguous_overlap", "hard_overlap", "easy_overlap", "lost")


def agreement(references: pd.DataFrame, transfer: pd.DataFrame) -> Agreement:
    """Every pair of runs.

    Args:
        references, transfer: tables as ``transfer.write`` writes them.
    """
    runs = list(references[["reference", "seed"]].itertuples(index=False, name=None))
    pairs = transfer.set_index(["reference", "seed", "other", "other_seed"])
    return Agreement(
        runs,
        references["verdict"].tolist(),
        {
            name: np.array([[pairs[name].get((*one, *other), np.nan) for other in runs] for one in runs], dtype=float)
            for name in MEASURES
        },
    )
