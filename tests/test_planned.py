"""What jobs are told of the plan, and what they refuse."""

from datetime import date

import pytest

from ftft.core.errors import UserError
from ftft.jobs import codehash, planned
from ftft.jobs.planned import Planned


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A script and a module that it imports, in a process that knows of no plan."""
    (tmp_path / "ftft").mkdir()
    (tmp_path / "ftft/low.py").write_text("X = 1\n", encoding="utf-8")
    (tmp_path / "train.py").write_text("from ftft.low import X\n", encoding="utf-8")
    (tmp_path / "other.py").write_text("X = 1\n", encoding="utf-8")
    monkeypatch.setattr(codehash, "LIBRARY", tmp_path / "ftft")
    monkeypatch.delenv(planned.VARIABLE, raising=False)
    forget()
    yield tmp_path / "train.py"
    forget()


def forget() -> None:
    """As in a new process."""
    for cached in (codehash.of, codehash._imports, codehash._tree, codehash._code):
        cached.cache_clear()


def test_jobs_have_the_configuration_as_it_was_parsed(script, monkeypatch):
    config = {"task": "a", "relabel": {0: "no", 1: "yes"}, "day": date(2026, 1, 1), "rate": 1e-5, "none": None}
    monkeypatch.setenv(planned.VARIABLE, "")
    Planned.now(config).pass_on()
    found = Planned.before()
    assert found is not None
    assert found.config == config
    assert list(found.config["relabel"]) == [0, 1]
    assert found.code == {"train.py": codehash.of(script), "other.py": codehash.of(script.with_name("other.py"))}


def test_without_a_plan_every_code_may_run(script):
    assert Planned.before() is None
    planned.check(script)


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        ("ftft/low.py", "X = 2\n", True),
        ("ftft/low.py", "X = 1  # one\n", False),
        ("train.py", "from ftft.low import X\nprint(X)\n", True),
        ("other.py", "X = 2\n", False),
    ],
)
def test_code_that_was_edited_since_is_refused_where_it_is_used(script, monkeypatch, name, text, refused):
    monkeypatch.setenv(planned.VARIABLE, "")
    Planned.now({}).pass_on()
    planned.check(script)
    (script.parent / name).write_text(text, encoding="utf-8")
    forget()
    if refused:
        with pytest.raises(UserError, match=r"the code of train\.py was edited after Snakemake had planned this job"):
            planned.check(script)
    else:
        planned.check(script)


@pytest.mark.parametrize("value", ["", "no base64", "AAAA"])
def test_a_variable_that_is_none_of_ours_is_one_line(script, monkeypatch, value):
    monkeypatch.setenv(planned.VARIABLE, value)
    with pytest.raises(UserError, match=r"the variable FTFT_PLANNED is not what a job is told .*: unset it"):
        Planned.before()
