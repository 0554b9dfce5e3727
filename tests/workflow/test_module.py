"""The workflow from elsewhere than the Snakefile at the top: the catalog's, and a workflow that has it as a module."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from workflow.harness import ROOT, planned_jobs, snakemake, write_experiment

MODULE = """
module ftft:
    snakefile: "{snakefile}"
    config: config

rule count:
    output: "lines.txt"
    params: cfg="mine", code="mine"
    shell: "wc -l data/*.csv > {{output}}"

use rule * from ftft{names}

rule mine:
    input: "lines.txt", "results/topics/subset/small/ambiguous-0.33/seed0.parquet"
    output: "mine.txt"
    shell: "cat {{input[0]}} > {{output}}"
"""


@pytest.fixture
def experiment(tmp_path):
    return write_experiment(tmp_path)


def write_module(folder, names: str = "", snakefile: str = "Snakefile", root: object = ROOT) -> tuple[str, str]:
    """Arguments for a workflow that has this one as a module, with rules of its own before and after."""
    (folder / "Snakefile").write_text(MODULE.format(snakefile=f"{root}/{snakefile}", names=names), encoding="utf-8")
    return "--snakefile", str(folder / "Snakefile")


def test_the_snakefile_of_the_catalog_plans_the_same_jobs(experiment):
    jobs = planned_jobs(experiment, "--snakefile", str(ROOT / "workflow" / "Snakefile"))
    assert jobs == planned_jobs(experiment)
    assert len(jobs) > 10


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_as_a_module_it_plans_the_same_jobs(experiment, snakefile):
    assert planned_jobs(experiment, *write_module(experiment, snakefile=snakefile)) == planned_jobs(experiment)


def test_as_a_module_its_rules_may_have_other_names_and_give_to_rules_of_others(experiment):
    jobs = planned_jobs(experiment, *write_module(experiment, " as ftft_*"), "mine")
    assert [job for job in jobs if not job.startswith("ftft_")] == ["count", "mine"]
    assert {"ftft_select_subset", "ftft_train_reference"} <= {job.split()[0] for job in jobs}


def test_as_a_module_it_runs_and_does_not_run_again(experiment):
    target = "results/topics/data/train.parquet"
    arguments = write_module(experiment, " as ftft_*")
    done = snakemake(experiment, *arguments, target, "lines.txt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (experiment / target).exists()
    assert planned_jobs(experiment, *arguments, target, "lines.txt") == []


def test_as_a_module_it_refuses_what_was_made_from_something_else(experiment):
    """Results without a record are looked at, and rules of others are left alone."""
    arguments = write_module(experiment)
    target = experiment / "results/topics/data/train.parquet"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"from elsewhere")
    (experiment / "lines.txt").write_text("from elsewhere")
    done = snakemake(experiment, "--dry-run", *arguments, "mine")
    assert done.returncode == 1
    assert "results/topics/data/train.parquet" in (done.stdout + done.stderr).splitlines()[-1]


@pytest.mark.parametrize(("change", "other"), [('task="others"', "others"), ("seeds=[7]", "topics")])
def test_two_experiments_as_modules_of_one_workflow_are_one_line(experiment, change, other):
    """Their jobs would read each other's data, or settings."""
    module = 'module {name}:\n    snakefile: "{root}/Snakefile"\n    config: {config}\n\n'
    module += "use rule * from {name} as {name}_*\n"
    text = module.format(name="one", root=ROOT, config="config")
    text += module.format(name="two", root=ROOT, config=f"dict(config, {change})")
    (experiment / "Snakefile").write_text(text, encoding="utf-8")
    done = snakemake(experiment, "--dry-run", "--snakefile", str(experiment / "Snakefile"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"two experiments (task topics and task {other}) are modules")


def test_another_copy_of_the_library_is_one_line(experiment, monkeypatch):
    """Jobs would import it in place of the clone's, whose hash they are recorded with."""
    (experiment / "elsewhere/ftft").mkdir(parents=True)
    (experiment / "elsewhere/ftft/__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(experiment / "elsewhere"))
    done = snakemake(experiment, "--dry-run")
    assert done.returncode == 1
    assert f"{experiment / 'elsewhere/ftft'} is a copy of the library" in done.stderr.splitlines()[-1]


class Quiet(SimpleHTTPRequestHandler):
    """Gives files, and says nothing about it."""

    def log_message(self, *_):
        pass


def test_as_a_module_from_elsewhere_it_asks_for_a_clone(experiment):
    """Snakemake reads rules from a server one by one, but the library does not come with them."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=ROOT)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        done = snakemake(experiment, "--dry-run", *write_module(experiment, root=root))
        server.shutdown()
    assert done.returncode == 1
    assert (done.stdout + done.stderr).splitlines()[-1] == (
        f"{root}/rules is read without its clone, where its library is; needed: clone the repository, and name the "
        "Snakefile of the clone"
    )
