"""What tables about all runs are as artifacts; see ``docs/artifacts.md``."""

import pyarrow as pa

# The mean over the OOD sets where a table has it among datasets. No data set's name can contain a space.
OOD_MEAN = "OOD mean"

ERM = "erm"  # the method that all others are compared to

HEADINGS = ("method", "reference", "seeds")  # of tables in which data sets have columns, so no data set has these names

RUN = ["main", "method", "reference", "seed"]  # the columns that say which run a row is about

# A row about a method begins with these columns.
_METHOD = {"task": pa.string(), "main": pa.string(), "method": pa.string(), "reference": pa.string()}

SUMMARY = pa.schema(
    {
        **_METHOD,
        "seed": pa.int32(),
        "dataset": pa.string(),
        "split": pa.string(),
        "metric": pa.string(),
        "value": pa.float64(),
        "step": pa.int32(),
        "train_examples": pa.int64(),
        "flops": pa.float64(),
        "seconds": pa.float64(),
    }
)

COMPARISON = pa.schema(
    {
        **_METHOD,
        "dataset": pa.string(),
        "metric": pa.string(),
        "seeds": pa.int32(),
        "mean": pa.float64(),
        "sd": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "difference": pa.float64(),
        "difference_sd": pa.float64(),
        "difference_low": pa.float64(),
        "difference_high": pa.float64(),
    }
)

COST_CURVE = pa.schema(
    {
        **_METHOD,
        "seed": pa.int32(),
        "dataset": pa.string(),
        "metric": pa.string(),
        "step": pa.int32(),
        "value": pa.float64(),
        "flops": pa.float64(),
        "seconds": pa.float64(),
        "reaches_erm": pa.bool_(),
    }
)

FORECAST = pa.schema(
    {
        **_METHOD,
        "steps": pa.int32(),
        "preparation_flops": pa.float64(),
        "step_flops": pa.float64(),
        "flops": pa.float64(),
        "erm_flops": pa.float64(),
        "preparation_share": pa.float64(),
        "share": pa.float64(),
        "break_even_step": pa.int32(),
        "break_even_share": pa.float64(),
        "earliest_stop": pa.int32(),
        "at_most": pa.bool_(),
        "pays": pa.string(),
    }
)

MEMORY = pa.schema(
    {
        "model": pa.string(),
        "device": pa.string(),
        "precision": pa.string(),
        "batch": pa.int32(),
        "length": pa.int32(),
        "weights_mb": pa.float64(),
        "gradients_mb": pa.float64(),
        "moments_mb": pa.float64(),
        "activations_mb": pa.float64(),
        "other_mb": pa.float64(),
        "total_mb": pa.float64(),
        "available_mb": pa.float64(),
        "enough": pa.bool_(),
    }
)

REFERENCES = pa.schema(
    {
        "reference": pa.string(),
        "seed": pa.int32(),
        "dev": pa.float64(),
        "ood_dev": pa.float64(),
        "chance": pa.float64(),
        "ambiguous": pa.float64(),
        "easy": pa.float64(),
        "hard": pa.float64(),
        "compared_with": pa.string(),
        "lost": pa.float64(),
        "verdict": pa.string(),
        "reason": pa.string(),
    }
)

TRANSFER = pa.schema(
    {
        "reference": pa.string(),
        "seed": pa.int32(),
        "other": pa.string(),
        "other_seed": pa.int32(),
        "rank_correlation": pa.float64(),
        "ambiguous_overlap": pa.float64(),
        "easy_overlap": pa.float64(),
        "hard_overlap": pa.float64(),
        "lost": pa.float64(),
    }
)
