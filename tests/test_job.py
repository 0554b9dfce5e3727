"""Scripts by hand, and what a user sees when something is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from ftft import artifacts, schemas

SCRIPTS = Path(schemas.__file__).parents[1]


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
    columns |= {name: [1 - row / n for row in range(n)] for name in schemas.DATAMAP.names if name not in columns}
    columns["forgetting"] = [0] * n
    artifacts.write_table(pa.table(columns), tmp_path / "datamap.parquet", schemas.DATAMAP)
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
    done = select(datamap, 0.1)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert " ERROR " in line
    assert "fraction" in line
    assert (datamap.parent / "logs/select.log").read_text().strip() == line
    assert not (datamap.parent / "subset.parquet").exists()


def test_every_script_explains_itself():
    for script in sorted(SCRIPTS.glob("*.py")):
        done = by_hand(script.name, "--help")
        assert done.returncode == 0, done.stderr
        assert "NAME=VALUE" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_line():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from ftft.job import reporting\n"
        "with reporting(None):\n"
        "    with open('/dev/full', 'w', buffering=1) as file:\n"
        "        file.write('x' * 100_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(SCRIPTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr.splitlines()[0]
