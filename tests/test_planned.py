"""What jobs are told of the plan, and what they refuse."""

from datetime import date
from pathlib import Path

import pytest

from ftft.core.errors import UserError
from ftft.jobs import codehash, planned
from ftft.jobs.planned import Planned

FILES = {
    "Snakefile": 'include: "rules/a.smk"\n',
    "rules/a.smk": "",
    "workflow/scripts/train.py": "from ftft.low import x\n",
    "workflow/scripts/other.py": "X = 1\n",
    "workflow/scripts/ftft/low/x.py": "X = 1\n",
    "workflow/scripts/ftft/experiment/plan.py": "from ftft.core import y\n",
    "workflow/scripts/ftft/core/y.py": "Y = 1\n",
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A workflow with a small library, in a process that knows of no plan."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(codehash, "LIBRARY", tmp_path / "workflow/scripts/ftft")
    monkeypatch.setenv(planned.VARIABLE, "")
    monkeypatch.delenv(planned.VARIABLE)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """As in a new process."""
    for cached in (codehash.of, codehash._imports, codehash._tree, codehash._code):
        cached.cache_clear()


def script(clone: Path) -> Path:
    return clone / "workflow/scripts/train.py"


def plan(clone: Path) -> Planned:
    """As a job finds it."""
    Planned.now({"task": "a"}).hash_of(script(clone))
    found = Planned.before()
    assert found is not None
    return found


def test_jobs_have_the_configuration_as_it_was_parsed(clone):
    config = {"task": "a", "relabel": {0: "no", 1: "yes"}, "day": date(2026, 1, 1), "rate": 1e-5, "none": None}
    Planned.now(config).pass_on()
    found = Planned.before()
    assert found is not None
    assert found.config == config
    assert list(found.config["relabel"]) == [0, 1]


def test_a_job_knows_the_hash_that_was_planned(clone):
    before = codehash.of(script(clone))
    found = plan(clone)
    script(clone).write_text("X = 2\n", encoding="utf-8")
    forget()
    assert found.hash_of(script(clone)) == before != codehash.of(script(clone))


def test_without_a_plan_there_is_none(clone):
    assert Planned.before() is None


@pytest.mark.parametrize(
    ("name", "text", "code", "rules"),
    [
        ("workflow/scripts/ftft/low/x.py", "X = 2\n", True, False),
        ("workflow/scripts/ftft/low/x.py", "X = 1  # one\n", False, False),
        ("workflow/scripts/train.py", "from ftft.low import x\nprint(x)\n", True, False),
        ("workflow/scripts/other.py", "X = 2\n", False, False),
        ("workflow/scripts/ftft/experiment/plan.py", "Y = 2\n", False, True),
        ("workflow/scripts/ftft/core/y.py", "Y = 2\n", False, True),
        ("rules/a.smk", "X = 2\n", False, True),
        ("rules/b.smk", "X = 2\n", False, True),
        ("Snakefile", "", False, True),
        ("workflow/scripts/new.py", "no code", False, False),
        ("workflow/scripts/ftft/low/._x.py", "no code", False, False),
    ],
)
def test_what_was_edited_since_is_refused_by_whom_it_concerns(clone, name, text, code, rules):
    found = plan(clone)
    found.check_code(script(clone))
    found.check_rules()
    (clone / name).write_text(text, encoding="utf-8")
    forget()
    words = " was edited after Snakemake had planned this job, .*: call snakemake again"
    for check, refused, what in (
        (lambda: found.check_code(script(clone)), code, "train.py"),
        (found.check_rules, rules, name),
    ):
        if refused:
            with pytest.raises(UserError, match=f"the code of {what}{words}"):
                check()
        else:
            check()


def test_rules_that_are_gone_are_refused(clone):
    found = plan(clone)
    (clone / "rules/a.smk").unlink()
    with pytest.raises(UserError, match=r"the code of rules/a\.smk was edited"):
        found.check_rules()


def test_the_lock_of_an_editor_is_no_code(clone):
    (clone / "workflow/scripts/ftft/.#x.py").symlink_to("somebody@somewhere")
    plan(clone).check_code(script(clone))


@pytest.mark.parametrize("value", ["", "no base64", "AAAA"])
def test_a_variable_that_is_none_of_ours_is_one_line(clone, monkeypatch, value):
    monkeypatch.setenv(planned.VARIABLE, value)
    with pytest.raises(UserError, match=r"the variable FTFT_PLANNED is not what a job is told .*: unset it"):
        Planned.before()
