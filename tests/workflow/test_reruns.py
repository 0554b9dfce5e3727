"""What a change runs again: for each, exactly the jobs that depend on it."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ftft.experiment.config import Training
from workflow.harness import ROOT, planned_jobs, small_config, snakemake, write_config, write_experiment

STOP = "stop-ood_dev-patience1"
RANDOM, OWN, SMALL = "random-0.33", "large/ambiguous-0.33", "small/ambiguous-0.33"
SHOWN = {"draw_figures", "write_tables", "report"}
END = {"compare_methods", "trace_costs", "summarize"} | SHOWN
COMPARED = {"compare_references"}
FORECAST = {"forecast"}
CHECKED = {"check_data"}


def download(*datasets: str) -> set[str]:
    """Data sets anew, and how they compare with each other."""
    return {f"download dataset={dataset}" for dataset in datasets} | CHECKED


def tokenize(tokenizer: str, *datasets: str) -> set[str]:
    return {f"tokenize tokenizer={tokenizer}, dataset={dataset}" for dataset in datasets}


def evaluate(run: str, checkpoint: str = "final") -> set[str]:
    return {f"evaluate_ood run={run}, checkpoint={checkpoint}"}


def reference(model: str, seed: int = 0) -> set[str]:
    """A reference run and its data map."""
    return {f"train_reference reference={model}, seed={seed}", f"compute_datamap reference={model}, seed={seed}"}


def main(subset: str, seed: int = 0, checkpoint: str = "final") -> set[str]:
    """The main model's run on a subset, and its evaluation."""
    run = evaluate(f"main/large/{subset}/seed{seed}", checkpoint)
    return {f"train_main main=large, recipe={subset}, seed={seed}"} | run


def select(subset: str, seed: int = 0) -> set[str]:
    return {f"select_subset subset={subset}, seed={seed}"}


ERM = evaluate("reference/large/seed0")
MAIN_RANDOM, MAIN_OWN, MAIN_SMALL = main(RANDOM), main(OWN), main(SMALL, checkpoint=STOP)
MAINS = MAIN_RANDOM | MAIN_OWN | MAIN_SMALL
EVALUATIONS = {job for job in ERM | MAINS if job.startswith("evaluate_ood")}
AFTER_SMALL = reference("small") | COMPARED | select(SMALL) | MAIN_SMALL | END
AFTER_LARGE = reference("large") | select(OWN) | ERM | MAINS | END
SELECTS = select(RANDOM) | select(OWN) | select(SMALL)

# Another value for every training setting of a reference.
SETTINGS = {
    "batch_size": 8,
    "micro_batch_size": 4,
    "steps": 20,
    "epochs": 4,
    "evaluate_every": 4,
    "learning_rate": 1.0e-3,
    "schedule": "cosine",
    "warmup": 0.2,
    "optimizer": "sgd",
    "weight_decay": 0.1,
    "adam_epsilon": 1.0e-8,
    "momentum": 0.5,
    "max_grad_norm": 0.5,
    "dropout": 0.2,
    "max_length": 16,
    "precision": "bf16",
    "gradient_checkpointing": True,
    "length_window": 10,
}


# What decides batches, steps and memory decides the forecast.
FORESEEN = {"batch_size", "micro_batch_size", "steps", "epochs", "evaluate_every", "length_window", "max_length"}
FORESEEN |= {"precision", "optimizer", "momentum", "gradient_checkpointing", "dropout"}


def after_setting(name: str) -> set[str]:
    after = AFTER_SMALL | (FORECAST if name in FORESEEN else set())
    # Its tokens too, where the length of an example changes; they are of no other model.
    return after | (tokenize("small+16", "train", "dev", "blogs.dev") if name == "max_length" else set())


@pytest.mark.parametrize("name", Training.model_fields)
def test_a_setting_of_a_reference_reruns_what_follows_from_it(copy, name):
    config = small_config()
    config["models"]["small"][name] = SETTINGS[name]
    if name == "steps":
        config["models"]["small"].pop("epochs", None)
    write_config(copy, config)
    assert set(planned_jobs(copy)) == after_setting(name)


def test_two_settings_that_swap_their_values_are_noticed(copy):
    config = small_config()
    config["models"]["small"] |= {"batch_size": 8, "evaluate_every": 16}  # 16 and 8 before
    write_config(copy, config)
    assert set(planned_jobs(copy)) == AFTER_SMALL | FORECAST


def row(change: Callable[[dict], object], expected: set[str], name: str):
    return pytest.param(change, expected, id=name)


def reverse_keys(section):
    if isinstance(section, dict):
        return {key: reverse_keys(section[key]) for key in reversed(section)}
    return section


def add_seed(config: dict) -> None:
    config["seeds"] = [0, 1]


SEED_1 = {
    *(reference("small", 1) | reference("large", 1) | evaluate("reference/large/seed1")),
    *(select(RANDOM, 1) | select(OWN, 1) | select(SMALL, 1)),
    *(main(RANDOM, 1) | main(OWN, 1) | main(SMALL, 1, STOP)),
    *COMPARED,
    *END,
}
BLOGS_TEST = download("blogs.test") | tokenize("large", "blogs.test") | EVALUATIONS | END - {"trace_costs"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        row(lambda c: c["models"]["large"].update(learning_rate=1.0e-3), AFTER_LARGE, "setting of the main model"),
        row(lambda c: c["models"]["large"].update(max_length=16), AFTER_LARGE | FORECAST
            | tokenize("large+16", "train", "dev", "blogs.dev", "blogs.test"), "length of the main model's input"),
        row(lambda c: c["training"].update(weight_decay=0.1), AFTER_SMALL | AFTER_LARGE, "setting of all models"),
        row(add_seed, SEED_1, "seed added"),
        row(lambda c: c["references"].append("other"), {
            "download_model source=other",
            *tokenize("other", "train", "dev", "blogs.dev"),
            *(reference("other") | select("other/ambiguous-0.33") | main("other/ambiguous-0.33", checkpoint=STOP)),
            *COMPARED,
            *FORECAST,
            *END,
        }, "reference added"),
        row(lambda c: c["references"].append("large"), END | FORECAST | MAIN_OWN | main(OWN, checkpoint=STOP),
            "reference that is the main model, with another stop rule for its run"),
        row(lambda c: c["methods"].update(half={"select": {"by": "ambiguous", "fraction": 0.5}}),
            select("small/ambiguous-0.5") | main("small/ambiguous-0.5") | FORECAST | END, "method added"),
        row(lambda c: c["methods"].update(jtt={"upweight": {}}, poe={"product_of_experts": {}}),
            main("small/upweight-4-epoch1") | main("small/product-epoch1") | FORECAST | END,
            "methods on all data added"),
        row(lambda c: c["models"]["small"].update(stop={"monitor": "ranking"}), AFTER_SMALL | FORECAST,
            "a reference may stop"),
        row(lambda c: c["methods"].pop("random"), FORECAST | END, "method removed"),
        row(lambda c: c["methods"]["ftft"]["select"].update(fraction=0.2),
            select("small/ambiguous-0.2") | main("small/ambiguous-0.2", checkpoint=STOP) | FORECAST | END, "fraction"),
        row(lambda c: c["methods"]["ftft"]["select"].update(by="hard"),
            select("small/hard-0.33") | main("small/hard-0.33", checkpoint=STOP) | FORECAST | END, "criterion"),
        row(lambda c: c["methods"]["ftft"]["stop"].update(patience=2),
            main(SMALL, checkpoint="stop-ood_dev-patience2") | FORECAST | END, "stop rule"),
        row(lambda c: c["data"]["ood"].update(newer={"test": {"path": "blogs.csv"}}),
            download("newer.test") | tokenize("large", "newer.test") | EVALUATIONS | END, "test set added"),
        row(lambda c: c["data"]["ood"]["blogs"]["test"].update(rows=10), BLOGS_TEST, "part of a test set"),
        row(lambda c: c["data"]["ood"]["blogs"]["test"].update(relabel={"sport": "music"}), BLOGS_TEST,
            "label mapping of a test set"),
        row(lambda c: c.update(datamap={"burn_in": 1}), select(OWN) | select(SMALL) | MAIN_OWN | MAIN_SMALL | END
            | {"compute_datamap reference=small, seed=0", "compute_datamap reference=large, seed=0"}
            | COMPARED, "burn-in"),
        row(lambda c: c["data"].update(group=None), {"check_data", "report"}, "group of the report"),
        row(lambda c: c.update(report={"blur_text": True}), {"report"}, "texts hidden"),
        row(lambda c: c["runtime"].update(device="auto", compile=False, checkpoint_minutes=1.0, progress=True), set(),
            "device, compilation, checkpoint interval, progress"),
        row(lambda c: c["models"]["small"].update(resources={"gpu": 2, "threads": 2, "mem_mb": 1, "runtime": "1h"}),
            set(), "resources"),
        row(lambda c: c.update(reverse_keys(c)), set(), "order of keys"),
        row(lambda c: c["models"].update(unused={"hub": "some/model"}), {"report"}, "model that nothing uses"),
    ],
)  # fmt: skip
def test_a_change_in_the_config_reruns_what_depends_on_it(copy, change, expected):
    config = small_config()
    change(config)
    write_config(copy, config)
    assert set(planned_jobs(copy)) == expected


def test_comments_and_the_order_of_keys_in_the_file_rerun_nothing(copy):
    config = reverse_keys(small_config())
    write_config(copy, config)
    text = (copy / "config.yaml").read_text(encoding="utf-8")
    (copy / "config.yaml").write_text(f"# a comment\n{text}# another\n", encoding="utf-8")
    assert planned_jobs(copy) == []


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("blogs-test.csv", BLOGS_TEST),
        ("blogs.csv", download("blogs.dev") | tokenize("small", "blogs.dev") | tokenize("large", "blogs.dev")
         | AFTER_SMALL | AFTER_LARGE),
        ("news.csv", download("train", "dev") | tokenize("small", "train", "dev") | tokenize("large", "train", "dev")
         | {"download_model source=small", "download_model source=large"}  # their tokenizers are trained on it
         | tokenize("small", "blogs.dev") | tokenize("large", "blogs.dev", "blogs.test")
         | AFTER_SMALL | AFTER_LARGE | SELECTS | FORECAST),
    ],
)  # fmt: skip
def test_a_changed_data_file_reruns_what_was_made_from_it(copy, file, expected):
    with open(copy / "data" / file, "a", encoding="utf-8") as csv:
        csv.write("one more song,music,agency0\n")
    assert set(planned_jobs(copy)) == expected


def test_other_files_of_a_model_rerun_what_comes_from_it(tmp_path, saved):
    """Weights, configuration and tokenizer under the same path; other files beside them do not count."""
    model = Path(shutil.copytree(saved["bert"], tmp_path / "model"))
    config = small_config()
    config["models"]["large"] = {"path": "model"}
    write_experiment(tmp_path, config)
    until = ("results/topics/source/model/source.json",)
    assert planned_jobs(tmp_path, *until) == ["download_model source=model"]
    done = snakemake(tmp_path, *until)
    assert done.returncode == 0, done.stdout + done.stderr
    (model / "trainer_state.json").write_text("{}")
    assert planned_jobs(tmp_path, *until) == []
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        content = (model / name).read_bytes()
        (model / name).write_bytes(content + b" ")
        assert planned_jobs(tmp_path, *until) == ["download_model source=model"]
        (model / name).write_bytes(content)
    assert planned_jobs(tmp_path, *until) == []


def test_data_that_moves_reruns_nothing(copy):
    config = small_config()
    (copy / "data").rename(copy / "elsewhere")
    config["data_dir"] = "elsewhere"
    write_config(copy, config)
    assert planned_jobs(copy) == []


# The stages that each library module has a part in.
TRAINING = {"train_reference", "train_main"}
TORCH = TRAINING | {"evaluate_ood"}
COUNTED = TRAINING | FORECAST  # what the forecast replays
TABLES = END
REFERENCES = COMPARED | SHOWN
ALL = {"download", "check_data", "download_model", "tokenize", *FORECAST, "compute_datamap", "select_subset"}
ALL |= TORCH | TABLES | REFERENCES
# A module of each package, and the stages whose results it has a part in; tests/test_provenance.py knows the packages
# of all stages.
MODULES = {
    "core/artifacts": ALL,
    "data/readers": {"download"},
    "data/tokens": {"tokenize"},
    "models/pretrained": {"download_model"} | TORCH | FORECAST,
    "compute/kernels": COUNTED,
    "compute/devices": TORCH | FORECAST,
    "dynamics/selection": {"select_subset"} | FORECAST,
    "dynamics/datamap": {"compute_datamap"} | REFERENCES,
    "evaluation/evaluate": {"evaluate_ood"},
    "training/loop": TRAINING,
    "results/writing": TABLES | REFERENCES | FORECAST,
    "results/overview": {"summarize"} | SHOWN,
    "results/summary": {"summarize"},
    "results/statistics": {"compare_methods"},
    "display/figures": {"draw_figures"},
    "display/sentences": {"report"},
    "jobs/gpus": set(),  # decides no result
    "experiment/plan": set(),
    "interop/callback": set(),
}
LIBRARY = Path("workflow/scripts/ftft")
# What follows from each stage, itself included.
FOLLOWS = {
    "report": {"report"},
    "check_data": CHECKED | {"report"},
    "forecast": FORECAST | {"report"},
    "draw_figures": {"draw_figures"},
    "write_tables": {"write_tables"},
    "trace_costs": {"trace_costs", "draw_figures", "report"},
    "compare_references": REFERENCES,
    "summarize": {"summarize"} | SHOWN,
    "compare_methods": {"compare_methods", "summarize"} | SHOWN,
    "evaluate_ood": {"evaluate_ood", "compare_methods", "summarize"} | SHOWN,
    "train_main": {"train_main", "evaluate_ood"} | TABLES,
    "select_subset": {"select_subset", "train_main", "evaluate_ood"} | TABLES,
    "compute_datamap": {"compute_datamap", "select_subset", "train_main", "evaluate_ood"} | TABLES | REFERENCES,
    "train_reference": TORCH | TABLES | REFERENCES | {"compute_datamap", "select_subset"},
    "tokenize": TORCH | TABLES | REFERENCES | FORECAST | {"tokenize", "compute_datamap", "select_subset"},
    "download_model": ALL - {"download", "check_data"},
    "download": ALL,
}


@pytest.fixture
def clone(tmp_path) -> Path:
    """A copy of the workflow, to edit its code."""
    folder = tmp_path / "clone"
    for part in ("rules", "workflow", "profiles", "envs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def test_code_that_is_edited_while_jobs_wait_does_not_run_under_the_name_of_the_one_before(copy, clone):
    first = copy / "results/topics/logs/compare_methods/comparison.log"
    first.unlink()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(snakemake, copy, "-R", "compare_methods", root=clone)
        while not first.exists() and not running.done():
            time.sleep(0.02)
        with open(clone / LIBRARY / "display/webpage.py", "a", encoding="utf-8") as file:
            file.write("\n\n_EDITED = True\n")
        done = running.result()
    assert done.returncode != 0
    assert "the code of report.py was edited after Snakemake had planned this job" in done.stdout + done.stderr
    assert "the code of summarize.py" not in done.stdout + done.stderr
    assert {job.split()[0] for job in planned_jobs(copy, root=clone)} == {"report"}
    assert snakemake(copy, root=clone).returncode == 0


@pytest.mark.parametrize("module", MODULES)
def test_code_of_a_module_reruns_the_stages_that_use_it(finished, clone, module):
    path = clone / LIBRARY / f"{module}.py"
    code = path.read_text(encoding="utf-8")
    path.write_text(f"{code}\n\n_EDITED = True\n", encoding="utf-8")
    expected = set().union(*(FOLLOWS[stage] for stage in MODULES[module]))
    assert {job.split()[0] for job in planned_jobs(finished, root=clone)} == expected


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_new_column_of_a_result_table_trains_nothing_again(finished, clone):
    edit(
        clone / LIBRARY / "results/schemas.py",
        '"task": pa.string()',
        '"task": pa.string(), "more": pa.string()',
    )
    stages = {job.split()[0] for job in planned_jobs(finished, root=clone)}
    assert "summarize" in stages
    assert stages.isdisjoint(TORCH | {"compute_datamap"})


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("training/resuming.py", "going on from step %d of %d", "continued at step %d of %d"),  # logged
        ("training/outputs.py", "are not finite: {CALMER}", "are no numbers: {CALMER}"),  # raised
        ("models/card.py", "Scores on development data", "Dev scores"),
        ("jobs/gpus.py", "time.sleep(0.5)", "time.sleep(1)"),
    ],
)
def test_other_words_rerun_nothing(finished, clone, module, old, new):
    edit(clone / LIBRARY / module, old, new)
    assert planned_jobs(finished, root=clone) == []


def test_comments_in_the_library_rerun_nothing(finished, clone):
    for path in (clone / "workflow/scripts").rglob("*.py"):
        path.write_text(path.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    assert planned_jobs(finished, root=clone) == []


@pytest.mark.parametrize("name", ["report.html.j2", "report.css", "page/tables.js"])
def test_the_page_is_made_again_when_a_template_changes(finished, clone, name):
    template = clone / LIBRARY / "display/templates" / name
    template.write_text(template.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert planned_jobs(finished, root=clone) == ["report"]


def test_results_that_move_to_another_clone_stay_valid(copy, clone):
    assert planned_jobs(copy, root=clone) == []
    shutil.rmtree(copy / ".snakemake")  # the results alone
    assert planned_jobs(copy, root=clone) == []


def refusal(folder: Path, *arguments: str) -> str:
    """The one line that ends a plan."""
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "made from" in line]
    assert len(line) <= 400
    return line


RESULTS = "results/topics"


@pytest.mark.parametrize(
    ("change", "result", "stage", "difference", "expected"),
    [
        (lambda c: c["models"]["small"].update(warmup=0.3), "reference/small/seed0/models", "train_reference",
         "settings.training.warmup was 0.1 and is 0.3", AFTER_SMALL),
        (lambda c: c["data"]["ood"]["blogs"]["test"].update(rows=10), "data/blogs.test.parquet", "download",
         "settings.source.rows was None and is 10", BLOGS_TEST),
        (lambda c: c.update(datamap={"burn_in": 1}), "datamap/large/seed0.parquet", "compute_datamap",
         "settings.burn_in was 0 and is 1", None),
        (lambda c: c["data"].update(group=None), "data_checks.parquet", "check_data",
         "settings.group was 'source' and is None", {"check_data", "report"}),
    ],
)  # fmt: skip
def test_results_of_other_settings_without_a_record_are_noticed(copy, change, result, stage, difference, expected):
    """By the first that differs, not by what follows from it; made again on request, it takes what follows along."""
    shutil.rmtree(copy / ".snakemake")
    config = small_config()
    change(config)
    write_config(copy, config)
    line = refusal(copy)
    assert line.startswith(f"{RESULTS}/{result} was made from something else, and Snakemake has no record of it: ")
    assert f"{difference}; call snakemake with -R {RESULTS}/{result} to make it again (-R {stage}: all" in line
    if expected is not None:
        assert set(planned_jobs(copy, "-R", f"{RESULTS}/{result}")) == expected


def test_results_of_other_files_without_a_record_are_noticed(copy):
    shutil.rmtree(copy / ".snakemake")
    subset = f"{RESULTS}/subset/random-0.33/seed0.parquet"
    shutil.copy2(copy / RESULTS / "subset" / OWN / "seed0.parquet", copy / subset)
    assert f"{subset} is not what was made; call snakemake with -R {subset}" in refusal(copy)


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"settings": {}, "code": "", "inputs": {}, "outputs": []}']
)
def test_a_manifest_that_says_nothing_does_not_pass(copy, text):
    shutil.rmtree(copy / ".snakemake")
    path = copy / RESULTS / "manifests/compute_datamap/small/seed0.json"
    path.unlink() if text is None else path.write_text(text)
    line = refusal(copy)
    assert line.startswith(f"nothing says what {RESULTS}/datamap/small/seed0.parquet was made from, ")
    assert f"{path.relative_to(copy)} is missing or damaged" in line


def test_a_reference_that_selects_the_same_does_not_retrain_the_main_model(copy):
    """Its dev curve has other steps now, but the same dynamics; that shows once its subset is there again."""
    config = small_config()
    config["models"]["small"]["evaluate_every"] = 4
    write_config(copy, config)
    assert set(planned_jobs(copy)) >= MAIN_SMALL
    done = snakemake(copy, "subsets")
    assert done.returncode == 0, done.stdout + done.stderr
    # What the reference costs was measured anew.
    assert set(planned_jobs(copy)) == END - {"compare_methods"} | COMPARED | FORECAST


RESULTS_ALONE = ALL - CHECKED - FORECAST  # what no table or figure needs but the page


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("-R select_subset", SELECTS | MAINS | EVALUATIONS - ERM | END),
        ("-R train_reference -- results/TASK/datamap/small/seed0.parquet", reference("small")),
        (f"-R train_main -- results/TASK/main/large/{RANDOM}/seed0/cost.parquet",
         {f"train_main main=large, recipe={RANDOM}, seed=0"}),
        ("-R results/TASK/reference/small/seed0/dynamics.parquet --", AFTER_SMALL),
        ("-R evaluate_ood -- summary", EVALUATIONS | {"compare_methods", "summarize"}),
        ("-R compute_datamap --until compute_datamap", {
            "compute_datamap reference=small, seed=0", "compute_datamap reference=large, seed=0"}),
        ("-R report", {"report"}),
        ("-R draw_figures write_tables", {"draw_figures", "write_tables"}),
    ],
)  # fmt: skip
def test_targeted_reruns_are_as_documented(finished, command, expected):
    typed = command.replace("results/TASK", RESULTS)
    assert set(planned_jobs(finished, *typed.split())) == expected
    assert f"snakemake --cores 8 {command.removesuffix(' --')}" in (ROOT / "docs/reruns.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("tokens", {"download", "download_model", "tokenize"} | CHECKED),
        ("forecast", {"download", "download_model", "tokenize"} | CHECKED | FORECAST),
        ("references", {"download", "download_model", "tokenize", "train_reference"} | CHECKED),
        ("datamaps", {"download", "download_model", "tokenize", "train_reference", "compute_datamap"} | CHECKED),
        ("transfer", {"download", "download_model", "tokenize", "train_reference", "compute_datamap"}
         | COMPARED | CHECKED | FORECAST),
        ("subsets", RESULTS_ALONE - TABLES - COMPARED - {"train_main", "evaluate_ood"} | CHECKED),
        ("mains", RESULTS_ALONE - TABLES - COMPARED - {"evaluate_ood"} | CHECKED),
        ("evaluations", RESULTS_ALONE - TABLES - COMPARED | CHECKED),
        ("summary", RESULTS_ALONE - COMPARED - SHOWN | CHECKED),
        ("report", ALL - SHOWN | {"report"}),
        ("draw_figures", RESULTS_ALONE - SHOWN | {"draw_figures"}),
        ("write_tables", RESULTS_ALONE - SHOWN - {"trace_costs"} | {"write_tables"}),
    ],
)  # fmt: skip
def test_each_kind_of_artifact_is_a_target(finished, target, rules):
    """Whatever is there, with --forceall; and nothing where it is up to date."""
    assert {job.split()[0] for job in planned_jobs(finished, "--forceall", target)} == rules
    assert planned_jobs(finished, target) == []
    assert f"`{target}`" in (ROOT / "docs/reruns.md").read_text(encoding="utf-8")
