"""The picture of the cost curve: dev score against training FLOPs, one line per run."""

import io

import pandas as pd
from matplotlib import color_sequences
from matplotlib.figure import Figure

from ftft.schemas import OOD_MEAN
from ftft.summary import ERM

# Ten colours that stay apart; the eleventh method has the first one dashed.
_COLOURS = color_sequences["tab10"]
_STYLES = ("-", "--", ":", "-.")


def cost_figure(curve: pd.DataFrame, metric: str, baseline: str = ERM) -> bytes:
    """The curve of one main model and metric as PNG; the lines of a method's seeds have one colour.

    Args:
        curve: rows of a table as ``cost_curve.trace`` writes it.
        metric: what to call the score.
        baseline: FLOPs are in percent of its whole training (mean over seeds), where there is such a method; the score
            of its last step (mean over seeds) is marked.
    """
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    ends = curve[curve["method"] == baseline].groupby("seed").tail(1)
    unit = 1.0 if ends.empty else ends["flops"].mean() / 100
    for number, ((method, reference), runs) in enumerate(curve.groupby(["method", "reference"], sort=False)):
        label = f"{method} ({reference})" if reference else method
        for _, run in runs.groupby("seed"):
            axes.plot(
                run["flops"] / unit,
                100 * run["value"],
                color=_COLOURS[number % len(_COLOURS)],
                linestyle=_STYLES[number // len(_COLOURS) % len(_STYLES)],
                marker="o",
                markersize=3,
                label=label,
            )
            label = "_"  # one entry in the legend for all seeds
    if not ends.empty:
        axes.axhline(100 * ends["value"].mean(), color="0.35", linewidth=1, linestyle="--")
    where = "mean OOD dev" if (curve["dataset"] == OOD_MEAN).all() else "dev"
    cost = "training FLOPs" if ends.empty else "training FLOPs, reference included (ERM = 100)"
    axes.set(xlabel=cost, ylabel=f"{where} {metric} (%)")
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    return image.getvalue()
