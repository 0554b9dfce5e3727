"""Scripts by hand, and what a user sees when something is wrong."""

import errno
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from ftft.core import artifacts
from ftft.dynamics.schemas import DATAMAP
from ftft.jobs import job
from ftft.jobs.environment import VARIABLE, Environment, Runtime

SCRIPTS = Path(artifacts.__file__).parents[2]


def by_hand(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def datamap(tmp_path):
    """A data map of ten examples whose variability falls with the row number."""
    n = 10
    columns = {
        "uid": [f"u{row}" for row in range(n)],
        "label": [row % 2 for row in range(n)],
        "region": ["ambiguous"] * n,
    }
    columns |= {name: [1 - row / n for row in range(n)] for name in DATAMAP.names if name not in columns}
    columns["forgetting"] = [0] * n
    artifacts.write_table(pa.table(columns), tmp_path / "datamap.parquet", DATAMAP)
    return tmp_path / "datamap.parquet"


def select(datamap: Path, fraction: float) -> subprocess.CompletedProcess[str]:
    return by_hand(
        "select_subset.py",
        *("--input", f"scores={datamap}"),
        *("--output", f"subset={datamap.parent / 'subset.parquet'}", f"cost={datamap.parent / 'cost.parquet'}"),
        *("--params", f"cfg={json.dumps({'by': 'ambiguous', 'fraction': fraction})}"),
        *("--wildcards", "seed=0"),
        *("--log", str(datamap.parent / "logs/select.log")),
    )


def test_a_script_runs_by_hand(datamap):
    done = select(datamap, 0.3)
    assert done.returncode == 0, done.stderr
    assert artifacts.read_table(datamap.parent / "subset.parquet")["uid"].to_pylist() == ["u0", "u1", "u2"]


def test_what_the_user_can_mend_is_one_line_without_a_traceback(datamap):
    done = select(datamap, 0.001)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert " ERROR " in line
    assert "fraction" in line
    assert (datamap.parent / "logs/select.log").read_text().strip() == line
    assert not (datamap.parent / "subset.parquet").exists()


def test_what_surrounds_a_job_reaches_it_through_a_variable(monkeypatch):
    monkeypatch.setenv(VARIABLE, "{}")  # and afterwards as it was
    assert Environment.here() == Environment()
    monkeypatch.delenv(VARIABLE)
    assert Environment.here() == Environment()
    told = Environment(
        data_dir="~/data",
        urls={"train": "https://me:secret@host/train.csv"},
        runtime=Runtime(device="cpu", progress=False, compile=True),
        cores=8,
        gpus={"small": 0.5},
        mem_mb={"small": 4000},
    )
    told.pass_on()
    assert Environment.here() == told
    monkeypatch.setenv(VARIABLE, '{"runtime": null, "cores": null, "gpus": null, "mem_mb": {"small": 1}}')
    assert Environment.here() == Environment(mem_mb={"small": 1})


@pytest.mark.parametrize("text", ["{", "[1]", '{"place": 1}', '{"runtime": {"gpu": 1}}', '{"runtime": [1]}'])
def test_what_surrounds_no_job_is_one_line(datamap, monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    done = select(datamap, 0.3)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("the variable FTFT_ENVIRONMENT is not what a job is told")
    assert line.endswith("unset it")


def test_every_script_explains_itself():
    for script in sorted(SCRIPTS.glob("*.py")):
        done = by_hand(script.name, "--help")
        assert done.returncode == 0, done.stderr
        assert "NAME=VALUE" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_line():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from ftft.jobs.job import reporting\n"
        "with reporting(None):\n"
        "    with open('/dev/full', 'w', buffering=1) as file:\n"
        "        file.write('x' * 100_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(SCRIPTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr.splitlines()[0]


def report(code: str, folder: Path, log: bool = True) -> subprocess.CompletedProcess[str]:
    """Run ``code`` as the body of a job."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    place = repr(str(folder / "job.log")) if log else None
    program = (
        f"import logging, os, sys, warnings\nfrom ftft.jobs.job import reporting\nwith reporting({place}):\n{body}\n"
    )
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_unexpected_error_is_one_line_with_its_traceback_in_the_log(tmp_path):
    done = report("int('x\\x1b[31m' + 'y' * 1_000_000)", tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "unexpected ValueError: invalid literal for int() with base 10: 'x" in line
    assert line.endswith(f"; the traceback is in {tmp_path / 'job.log'}")
    log = (tmp_path / "job.log").read_text(encoding="utf-8")
    assert log.count("unexpected ValueError") == 1
    assert "Traceback (most recent call last):" in log
    assert 'File "<string>", line 4' in log
    assert log.rstrip().splitlines()[-1].startswith("ValueError: invalid literal")
    assert max(map(len, (log + done.stderr).splitlines())) < 450
    assert "\x1b" not in log + done.stderr


def test_without_a_log_the_terminal_has_the_traceback_once(tmp_path):
    done = report("{}['missing']", tmp_path, log=False)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert "unexpected KeyError: 'missing'" in done.stderr.splitlines()[0]


def test_a_traceback_of_any_length_is_bounded(tmp_path):
    report("raise RuntimeError('\\n'.join(map(str, range(100_000))))", tmp_path)
    lines = (tmp_path / "job.log").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 110
    assert lines[-1] == "99999"


def test_what_libraries_log_and_warn_is_bounded_and_harmless(tmp_path):
    code = (
        "loud = logging.getLogger('somebody')\n"
        "loud.propagate = False\n"  # as transformers and datasets do
        "loud.addHandler(logging.StreamHandler())\n"
        "loud.warning('%s', '\\x1b]0;title\\x07' + 'x' * 1_000_000)\n"
        "logging.warning('\\n'.join(['line\\r'] * 10_000))\n"
        "warnings.warn('careful\\x1b[2J' + 'y' * 1_000_000)\n"
    )
    done = report(code, tmp_path)
    assert done.returncode == 0
    log = (tmp_path / "job.log").read_text(encoding="utf-8")
    for text in (done.stderr, log):
        assert len(text) < 3000
        assert text.replace("\n", "").isprintable()
    assert r"\x1b]0;title\x07xxx" in done.stderr
    assert r"UserWarning: careful\x1b[2Jyyy" in log
    assert "and 9991 more lines" in log


def test_a_crash_in_native_code_leaves_its_place_in_the_log(tmp_path):
    done = report("os.abort()", tmp_path)
    assert done.returncode == -6
    assert "Fatal Python error: Aborted" in (tmp_path / "job.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "failure",
    [
        "OSError(122, 'Disk quota exceeded', 'results/x')",
        "RuntimeError('I/O error: No space left on device (os error 28)')",
    ],
)
def test_a_full_disk_is_known_in_other_words_too(tmp_path, failure):
    done = report(f"raise {failure}", tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "the disk is full (" in line
    assert (tmp_path / "job.log").read_text(encoding="utf-8").strip() == line


def test_an_interrupted_job_is_one_line(tmp_path):
    done = report("raise KeyboardInterrupt", tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "interrupted; run again" in line


def test_a_log_that_cannot_be_written_is_one_line(datamap):
    (datamap.parent / "logs").write_text("")  # a file where a folder has to be
    done = select(datamap, 0.3)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "select.log' cannot be written" in line


def test_what_killed_jobs_left_of_an_output_is_removed_by_the_next(datamap):
    ours = datamap.parent / ".subset.parquet.123.tmp"
    others = datamap.parent / ".other.parquet.123.tmp"
    for leftover in (ours, others):
        leftover.write_text("half")
    assert select(datamap, 0.3).returncode == 0
    assert not ours.exists()
    assert others.exists()


@pytest.mark.parametrize("fails", [True, False])
def test_what_an_unfinished_job_needs_goes_when_nothing_can_fail_any_more(tmp_path, monkeypatch, fails):
    def record(*_):
        if fails:
            raise OSError(errno.ENOSPC, "No space left on device")

    done: list[str] = []
    monkeypatch.setattr(job.manifest, "record", record)
    monkeypatch.setattr(job, "reporting", nullcontext)
    given = SimpleNamespace(
        **dict.fromkeys(("input", "output", "wildcards"), SimpleNamespace()),
        params=SimpleNamespace(cfg={}, code=""),
        log=[str(tmp_path / "log")],
        threads=1,
        resources={},
    )
    with pytest.raises(OSError, match="No space") if fails else nullcontext():
        job.run(lambda _: done.append("main"), given, afterwards=lambda _: done.append("afterwards"))
    assert done == (["main"] if fails else ["main", "afterwards"])
