"""Lines of text for other programs: as cartography has them, back again to the last bit, and errors that say where."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from test_docs import ROOT, blocks

from ftft.core import artifacts
from ftft.core.artifacts import read_metadata, read_table, write_table
from ftft.core.errors import UserError
from ftft.data.schemas import data_schema
from ftft.dynamics import datamap, selection
from ftft.dynamics.artifact import write_dynamics
from ftft.dynamics.schemas import DATAMAP, SUBSET, dynamics_schema
from ftft.experiment import config
from ftft.interop import cartography
from ftft.interop.guids import guid_of

PAGE = ROOT / "docs" / "without_the_workflow.md"
SCRIPTS = Path(artifacts.__file__).parents[2]
LABELS = ["no", "maybe", "yes"]


def write_data(path: Path, uids: list[str], labels: list[int]) -> Path:
    table = pa.table({"uid": uids, "text_a": ["text"] * len(uids), "label": pa.array(labels, pa.int16())})
    write_table(table, path, data_schema(pairs=False), {"labels": json.dumps(LABELS)})
    return path


@pytest.fixture
def data(tmp_path) -> Path:
    return write_data(tmp_path / "data.parquet", ["b", "a", "17"], [0, 2, 1])


def lines(epoch: int) -> list[str]:
    """Those of one epoch of three examples, not in the data's order; a guid may be a number."""
    return [
        f'{{"guid":17,"logits_epoch_{epoch}":[0.25,-1.5,3],"gold":1}}',
        f'{{"guid":"a","logits_epoch_{epoch}":[1.6076261997,{epoch}.5,-3.3108742237],"gold":2}}',
        f'{{"guid":"b","logits_epoch_{epoch}":[2.0,0.0,1e-3],"gold":0}}',
    ]


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "training_dynamics"
    folder.mkdir()
    for epoch in range(2):
        (folder / f"dynamics_epoch_{epoch}.jsonl").write_text("\n".join(lines(epoch)) + "\n")
    return folder


def random_dynamics(folder: Path, n: int = 300, epochs: int = 4) -> tuple[Path, Path]:
    """Dynamics and data with float32 logits of all sizes."""
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(epochs, n, 3)) * 10.0 ** rng.integers(-9, 9, (epochs, n, 1))).astype(np.float32)
    data = write_data(folder / "data.parquet", [f"u{i:03}" for i in rng.permutation(n)], rng.integers(0, 3, n).tolist())
    write_dynamics(list(logits), folder / "dynamics.parquet", 3, {"labels": json.dumps(LABELS)})
    return folder / "dynamics.parquet", data


def test_dynamics_as_cartography_has_them(tmp_path, data):
    logits = np.array([[[0.25, -1.5, 3], [1, 2, 3], [0.1, 0, 0]]], dtype=np.float32)
    write_dynamics(list(logits), tmp_path / "dynamics.parquet", 3, {})
    cartography.export_dynamics(tmp_path / "dynamics.parquet", data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dynamics_epoch_0.jsonl"]
    # 0.1 in float32 is 13421773 / 2**27.
    assert (tmp_path / "out/dynamics_epoch_0.jsonl").read_text() == (
        '{"guid":"b","logits_epoch_0":[0.25,-1.5,3.0],"gold":0}\n'
        '{"guid":"a","logits_epoch_0":[1.0,2.0,3.0],"gold":2}\n'
        '{"guid":"17","logits_epoch_0":[0.10000000149011612,0.0,0.0],"gold":1}\n'
    )


def test_imported_dynamics_are_in_the_order_of_the_data(tmp_path, data, folder):
    cartography.import_dynamics(folder, data, tmp_path / "dynamics.parquet")
    table = read_table(tmp_path / "dynamics.parquet")
    assert table.schema.equals(dynamics_schema(3))
    assert table["epoch"].to_pylist() == [0, 0, 0, 1, 1, 1]
    assert table["row"].to_pylist() == [0, 1, 2, 0, 1, 2]
    first = [[2.0, 0.0, 1e-3], [1.6076261997, 0.5, -3.3108742237], [0.25, -1.5, 3]]
    assert np.array(table["logits"].to_pylist()[:3]) == pytest.approx(np.array(first), rel=1e-7)
    assert table["logits"].to_pylist()[4][1] == 1.5
    assert read_metadata(tmp_path / "dynamics.parquet") == {"labels": json.dumps(LABELS)}
    datamap.write(tmp_path / "dynamics.parquet", data, tmp_path / "datamap.parquet")


def test_dynamics_come_back_to_the_last_bit(tmp_path):
    dynamics, data = random_dynamics(tmp_path)
    cartography.export_dynamics(dynamics, data, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():  # in whatever order the other program writes them
        path.write_text("".join(sorted(path.read_text().splitlines(keepends=True))))
    cartography.import_dynamics(tmp_path / "out", data, tmp_path / "back.parquet")
    assert (tmp_path / "back.parquet").read_bytes() == dynamics.read_bytes()


def test_coordinates_by_hand(tmp_path, write_data):
    """Gold probabilities over four epochs: steady 0.9; 0.2, 0.8, 0.4, 0.8; never right."""
    gold = np.array([[0.9, 0.2, 0.1], [0.9, 0.8, 0.1], [0.9, 0.4, 0.3], [0.9, 0.8, 0.3]])
    logits = np.log(np.stack([gold, 1 - gold], axis=-1)).astype(np.float32)
    data = write_data(tmp_path / "data.parquet", ["x", "y", "z"], [0, 0, 0])
    write_dynamics(list(logits), tmp_path / "dynamics.parquet", 2, {})
    datamap.write(tmp_path / "dynamics.parquet", data, tmp_path / "datamap.parquet")
    cartography.export_coordinates(tmp_path / "datamap.parquet", tmp_path / "td_metrics.jsonl")

    found = [json.loads(line) for line in (tmp_path / "td_metrics.jsonl").read_text().splitlines()]
    fields = ["guid", "index", "threshold_closeness", "confidence", "variability", "correctness", "forgetfulness"]
    assert [list(record) for record in found] == [fields] * 3
    assert [record["guid"] for record in found] == ["u0", "u1", "u2"]
    assert [record["index"] for record in found] == [0, 1, 2]
    assert [record["confidence"] for record in found] == pytest.approx([0.9, 0.55, 0.2], abs=1e-7)
    assert [record["variability"] for record in found] == pytest.approx([0, (0.27 / 4) ** 0.5, 0.1], abs=1e-7)
    assert [record["threshold_closeness"] for record in found] == pytest.approx([0.09, 0.2475, 0.16], abs=1e-7)
    assert [json.dumps(record["correctness"]) for record in found] == ["4", "2", "0"]
    assert [json.dumps(record["forgetfulness"]) for record in found] == ["0", "1", "1000"]


def test_coordinates_come_back_to_the_last_bit(tmp_path):
    dynamics, data = random_dynamics(tmp_path)
    datamap.write(dynamics, data, tmp_path / "datamap.parquet")
    cartography.export_coordinates(tmp_path / "datamap.parquet", tmp_path / "td_metrics.jsonl")
    cartography.import_coordinates(tmp_path / "td_metrics.jsonl", data, tmp_path / "back.parquet", epochs=4)
    before, back = read_table(tmp_path / "datamap.parquet"), read_table(tmp_path / "back.parquet")
    assert back.schema.equals(DATAMAP)
    known = ["uid", "label", "confidence", "variability", "correctness", "forgetting", "threshold_closeness", "region"]
    assert back.select(known).equals(before.select(known))
    for name in set(DATAMAP.names) - set(known):
        assert back[name].null_count == 300, name
    assert read_metadata(tmp_path / "back.parquet") == {"epochs": "4", "rows": "300"}


def test_published_coordinates_are_enough_to_select_by(tmp_path, data):
    """The data map that comes with cartography has neither forgetfulness nor threshold closeness."""
    (tmp_path / "winogrande.jsonl").write_text(
        '{"guid":17,"index":0,"confidence":0.5,"variability":0.25,"correctness":5}\n'
        '{"guid":"a","index":1,"confidence":0.9,"variability":0.1,"correctness":6}\n\n'
        '{"guid":"b","index":2,"confidence":0.1,"variability":0.3,"correctness":0}\n'
    )
    cartography.import_coordinates(tmp_path / "winogrande.jsonl", data, tmp_path / "datamap.parquet", epochs=6)
    table = read_table(tmp_path / "datamap.parquet")
    assert table["correctness"].to_pylist() == [0, 1, 5 / 6]
    assert table["threshold_closeness"].to_pylist() == pytest.approx([0.09, 0.09, 0.25])
    assert table["region"].to_pylist() == ["ambiguous", "easy-to-learn", "easy-to-learn"]
    assert table["forgetting"].null_count == 3
    chosen = selection.select(table["uid"], table["variability"], "ambiguous", 0.67)
    assert chosen["uid"].to_pylist() == ["b", "17"]
    with pytest.raises(UserError, match="lacks forgetting of every example"):
        cartography.export_coordinates(tmp_path / "datamap.parquet", tmp_path / "out.jsonl")


def test_ids_in_the_order_of_the_ranks(tmp_path):
    table = pa.table({"uid": ["a", "é b", "c"], "score": [0.1, 0.3, 0.2], "rank": [2, 0, 1]})
    write_table(table, tmp_path / "subset.parquet", SUBSET)
    cartography.export_ids(tmp_path / "subset.parquet", tmp_path / "out/ids.txt")
    assert (tmp_path / "out/ids.txt").read_text(encoding="utf-8") == "é b\nc\na\n"


def test_an_id_of_two_lines(tmp_path):
    write_table(pa.table({"uid": ["a\nb"], "score": [0.1], "rank": [0]}), tmp_path / "subset.parquet", SUBSET)
    with pytest.raises(UserError, match=r"the uid 'a\\nb' contains a line break"):
        cartography.export_ids(tmp_path / "subset.parquet", tmp_path / "ids.txt")
    assert not (tmp_path / "ids.txt").exists()


A, B = ('{"guid":"a","logits_epoch_1":[1,2,3],"gold":2}', '{"guid":"b","logits_epoch_1":[1,2,3],"gold":0}')
C = '{"guid":"17","logits_epoch_1":[1,2,3],"gold":1}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([A, B], r"no line for 1 of the 3 examples of .*, the first of them '17'; needed: one line per example"),
        ([A, B, C, A], r", line 4: the guid 'a' is in line 1 already; needed: one line per example"),
        ([A, B, C.replace("17", "18")], r", line 3: the guid '18' is none of the 3 uids of .*; set data\.uid"),
        ([A, B, C.replace('"gold"', '"label"')], r", line 3: no 'gold'; found: guid, logits_epoch_1, label; needed: "),
        ([A, B, C.replace("epoch_1", "epoch_0")], r", line 3: no 'logits_epoch_1'; found: guid, logits_epoch_0, gold"),
        ([A, B, C.replace('gold":1', 'gold":0')], r", line 3: gold is 0, but the label in .* is 1; class indices"),
        ([A, B, C.replace("[1,2,3]", "[1,2]")], r", line 3: logits_epoch_1 has 2 numbers; needed: .* the 3 classes"),
        (
            [A, B, C.replace("[1,2,3]", "[1,null,3]")],
            r"line 3: logits_epoch_1 is \[1,null,3\]; needed: a list with one",
        ),
        ([A, B, C.replace("[1,2,3]", "7")], r"line 3: logits_epoch_1 is 7; needed: a list with one number per class"),
        ([A, B, C.replace("[1,2,3]", "[1,NaN,3]")], r"line 3: logits_epoch_1 is \[1,NaN,3\]; needed: a list with one"),
        (
            [A, B, C.replace("[1,2,3]", "[1,1e39,3]")],
            r"line 3: logits_epoch_1 is \[1,1e\+39,3\]; needed: .* \(finite\)",
        ),
        ([A, B, C.replace("[1,2,3]", str(["x" * 999] * 999))], r"line 3: not JSON \(.*\); needed: one object per line"),
        ([A, B, "[" * 200_000], r"line 3: not JSON \(.*recursion.*\); needed: one object per line"),
        ([A, B, C.replace("17", "\\u001b[31m" + "x" * 999)], r"line 3: the guid '\\x1b\[31mx+…'? is none"),
        (["", A.replace("_epoch_1", "")], r"jsonl: the first line has guid, logits, gold; needed: guid, gold and one"),
        ([], r"jsonl: the first line has no field; needed: guid, gold and one field logits_epoch_K"),
        ([A, B, C[:-1]], r", line 3: not JSON \(.*\); needed: one object per line"),
        ([A, B, "[1]"], r", line 3: list found; needed: one object per line"),
        ([A, B, "\udcff"], r"dynamics_epoch_1\.jsonl is not text in UTF-8"),
    ],
)
def test_dynamics_that_cannot_be_imported(tmp_path, data, folder, content, message):
    text = "\n".join(content).encode(errors="surrogateescape")
    (folder / "dynamics_epoch_1.jsonl").write_bytes(text)
    with pytest.raises(UserError, match=message) as failure:
        cartography.import_dynamics(folder, data, tmp_path / "dynamics.parquet")
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) <= 400
    assert "dynamics_epoch_1.jsonl" in str(failure.value)
    assert not (tmp_path / "dynamics.parquet").exists()


def test_missing_epochs(tmp_path, data, folder):
    (folder / "dynamics_epoch_0.jsonl").rename(folder / "dynamics_epoch_2.jsonl")
    with pytest.raises(UserError, match=r"logits_epoch_0 in dynamics_epoch_2\.jsonl comes after logits_epoch_1 in"):
        cartography.import_dynamics(folder, data, tmp_path / "dynamics.parquet")
    (folder / "dynamics_epoch_1.jsonl").rename(folder / "dynamics_epoch_0.jsonl")
    message = r"training_dynamics: dynamics_epoch_2\.jsonl comes after dynamics_epoch_0\.jsonl; needed: every epoch"
    with pytest.raises(UserError, match=message):
        cartography.import_dynamics(folder, data, tmp_path / "dynamics.parquet")
    with pytest.raises(UserError, match=r"nowhere has no file dynamics_epoch_0\.jsonl; name the folder"):
        cartography.import_dynamics(tmp_path / "nowhere", data, tmp_path / "dynamics.parquet")


@pytest.mark.parametrize(
    ("files", "fields"), [((1, 2), (1, 2)), ((7, 8), (7, 8)), ((0, 1), (1, 2)), ((5, 6), (0, 1)), ((9, 10), (9, 10))]
)
def test_epochs_counted_from_any_number(tmp_path, data, folder, files, fields):
    cartography.import_dynamics(folder, data, tmp_path / "expected.parquet")
    contents = [(folder / f"dynamics_epoch_{epoch}.jsonl").read_text() for epoch in range(2)]
    moved = tmp_path / "moved"
    moved.mkdir()
    for epoch, (number, field) in enumerate(zip(files, fields, strict=True)):
        content = contents[epoch].replace(f"logits_epoch_{epoch}", f"logits_epoch_{field}")
        (moved / f"dynamics_epoch_{number}.jsonl").write_text(content)
    cartography.import_dynamics(moved, data, tmp_path / "dynamics.parquet")
    assert (tmp_path / "dynamics.parquet").read_bytes() == (tmp_path / "expected.parquet").read_bytes()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("epoch_0", "epoch_99999999999"), r"dynamics_epoch_99999999999\.jsonl comes after dynamics_epoch_0\.jsonl"),
        (("epoch_1", "epoch_01"), r"has both dynamics_epoch_01\.jsonl and dynamics_epoch_1\.jsonl; delete the one"),
    ],
)
def test_files_that_are_not_one_run(tmp_path, data, folder, names, message):
    for epoch, name in enumerate(names):
        (folder / f"dynamics_epoch_{epoch}.jsonl").rename(folder / f"dynamics_{name}.json")
    for name in names:
        (folder / f"dynamics_{name}.json").rename(folder / f"dynamics_{name}.jsonl")
    with pytest.raises(UserError, match=message):
        cartography.import_dynamics(folder, data, tmp_path / "dynamics.parquet")


def test_two_files_of_one_epoch(tmp_path, data, folder):
    (folder / "dynamics_epoch_2.jsonl").write_text((folder / "dynamics_epoch_1.jsonl").read_text())
    message = (
        r"dynamics_epoch_1\.jsonl and dynamics_epoch_2\.jsonl both have logits_epoch_1; needed: one file per epoch"
    )
    with pytest.raises(UserError, match=message):
        cartography.import_dynamics(folder, data, tmp_path / "dynamics.parquet")


# As cartography logs them for these ids of SNLI.
SNLI = {
    "4705552913.jpg#2r1n": 4705552913212,
    "4705552913.jpg#2r1e": 4705552913210,
    "3416050480.jpg#4r1c": 3416050480411,
    "vg_len1r3e": 555130,
    "vg_verb20r4c": 4442041,
    "17": 173,
}


def test_guids_that_cartography_makes_of_ids(tmp_path):
    assert {uid: guid_of(uid) for uid in SNLI} == SNLI
    data = write_data(tmp_path / "data.parquet", list(SNLI), [0, 1, 2, 0, 1, 2])
    folder = tmp_path / "training_dynamics"
    folder.mkdir()
    records = [{"guid": guid, "logits_epoch_0": [row, 0, 0], "gold": row % 3} for row, guid in enumerate(SNLI.values())]
    (folder / "dynamics_epoch_0.jsonl").write_text("\n".join(map(json.dumps, reversed(records))))
    cartography.import_dynamics(folder, data, tmp_path / "dynamics.parquet")
    assert [logits[0] for logits in read_table(tmp_path / "dynamics.parquet")["logits"].to_pylist()] == list(range(6))


def test_ids_of_which_cartography_makes_one_number(tmp_path):
    data = write_data(tmp_path / "data.parquet", ["1a2", "12", "b"], [0, 0, 0])
    (tmp_path / "td_metrics.jsonl").write_text("\n".join(json.dumps(LINE | {"guid": guid}) for guid in (123, 124, 3)))
    with pytest.raises(UserError, match=r"line 1: the guid '123' is none of the 3 uids of .*, such as '1a2'; set data"):
        cartography.import_coordinates(tmp_path / "td_metrics.jsonl", data, tmp_path / "out.parquet", epochs=2)


LINE = {"guid": "a", "confidence": 0.5, "variability": 0.1, "correctness": 2, "forgetfulness": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 1.5}, r"line 3: confidence is 1\.5; allowed: a number from 0 to 1"),
        ({"variability": None}, r"line 3: variability is null; allowed: a number from 0 to 1"),
        ({"correctness": 5}, r"line 3: correctness is 5; allowed: a number from 0 to 4"),
        ({"forgetfulness": "x"}, r'line 3: forgetfulness is "x"; allowed: a number from 0 to 1000'),
        ({"guid": "z"}, r"line 3: the guid 'z' is none of the 3 uids"),
    ],
)
def test_coordinates_that_cannot_be_imported(tmp_path, data, change, message):
    records = [LINE, LINE | {"guid": "b"}, LINE | {"guid": "17"} | change]
    (tmp_path / "td_metrics.jsonl").write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(UserError, match=message):
        cartography.import_coordinates(tmp_path / "td_metrics.jsonl", data, tmp_path / "datamap.parquet", epochs=4)


def test_dynamics_that_cannot_be_exported(tmp_path):
    dynamics, data = random_dynamics(tmp_path)
    short = write_data(tmp_path / "short.parquet", ["a"], [0])
    with pytest.raises(UserError, match=r"have 1200 rows in 4 epochs, but .*short\.parquet has 1 examples; name"):
        cartography.export_dynamics(dynamics, short, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dynamics_epoch_4.jsonl").write_text("")
    with pytest.raises(UserError, match=r"already has dynamics_epoch_4\.jsonl, but there are only 4 epochs"):
        cartography.export_dynamics(dynamics, data, tmp_path / "out")
    write_dynamics([np.full((1, 2), np.nan, np.float32)], tmp_path / "nan.parquet", 2, {})
    with pytest.raises(UserError, match=r"not finite \(epoch 0, row 0\)"):
        cartography.export_dynamics(tmp_path / "nan.parquet", short, tmp_path / "other")


def test_metadata_that_are_damaged(tmp_path, data, folder):
    write_table(read_table(data), data, data_schema(pairs=False), {"labels": "{"})
    with pytest.raises(UserError, match=r"is damaged: labels in its metadata are no list of names"):
        cartography.import_dynamics(folder, data, tmp_path / "dynamics.parquet")
    dynamics, data = random_dynamics(tmp_path)
    datamap.write(dynamics, data, tmp_path / "datamap.parquet")
    write_table(read_table(tmp_path / "datamap.parquet"), tmp_path / "datamap.parquet", DATAMAP, {"epochs": "four"})
    with pytest.raises(UserError, match=r"is damaged: epochs in its metadata is 'four', which is no number"):
        cartography.export_coordinates(tmp_path / "datamap.parquet", tmp_path / "out.jsonl")


def test_files_of_another_kind(tmp_path, data):
    (tmp_path / "text").write_text("text")
    for path, message in (
        (tmp_path / "nowhere", r"nowhere cannot be read: No such file or directory; name a subset"),
        (tmp_path, r"cannot be read: .*; name a subset"),
        (tmp_path / "text", r"text is not a Parquet file; name a subset"),
        (data, r"data\.parquet has no column 'rank'; found: uid, text_a, label; name a subset"),
    ):
        with pytest.raises(UserError, match=message) as failure:
            cartography.export_ids(path, tmp_path / "ids.txt")
        assert "\n" not in str(failure.value)
    with pytest.raises(
        UserError, match=r"nowhere\.jsonl cannot be read: No such file or directory; name a file of JSON"
    ):
        cartography.import_coordinates(tmp_path / "nowhere.jsonl", data, tmp_path / "out.parquet", epochs=2)


def test_the_commands_in_the_documentation(tmp_path, monkeypatch):
    """The page's commands in their order, and then its second example, on a small run with the demo's epochs."""
    script = blocks(PAGE, "sh")[0]
    demo = config.load(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8")))
    epochs = int(demo.training_of("head-l2").epochs)
    assert f" --epochs {epochs} " in script
    monkeypatch.chdir(tmp_path)
    dynamics, data = random_dynamics(tmp_path, n=12, epochs=epochs)
    datamap.write(dynamics, data, tmp_path / "map.parquet")
    selection.write(tmp_path / "map.parquet", tmp_path / "subset.parquet", "ambiguous", 0.4)
    variables = dict(re.findall(r"\b(run|data)=(\S+)", script))
    made = {
        f"{variables['run']}/dynamics.parquet": dynamics,
        variables["data"]: data,
        "results/demo/datamap/head-l2/seed0.parquet": tmp_path / "map.parquet",
        "results/demo/subset/head-l2/ambiguous-0.33/seed0.parquet": tmp_path / "subset.parquet",
    }
    for path, source in made.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(source.read_bytes())
    dynamics.unlink()
    commands = re.findall(r"^ftft-cartography (.*)$", script, re.MULTILINE)
    assert {command.split()[0] for command in commands} == {
        *("export-dynamics", "import-dynamics", "export-coordinates", "import-coordinates", "export-ids")
    }
    for command in commands:
        words = re.sub(r"\$(\w+)", lambda match: variables[match[1]], command)
        cartography.main(shlex.split(words))
    assert dynamics.read_bytes() == Path(variables["run"], "dynamics.parquet").read_bytes()
    assert len(Path("ids.txt").read_text().split()) == 4

    Path("results/TASK/data").mkdir(parents=True)
    Path("results/TASK/data/train.parquet").write_bytes(data.read_bytes())
    exec(blocks(PAGE, "python")[1], {})
    assert read_table("subset.parquet").num_rows == 3


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ftft.interop.cartography", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS), "COLUMNS": "100"},
    )


def test_command_line_help_names_every_command():
    done = command("--help")
    assert done.returncode == 0
    for name in ("export-dynamics", "import-dynamics", "export-coordinates", "import-coordinates", "export-ids"):
        assert name in done.stdout


def test_command_line_errors_are_one_line(tmp_path):
    done = command("export-ids", str(tmp_path / "nowhere.parquet"), "--output", str(tmp_path / "ids.txt"))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "nowhere.parquet cannot be read" in line
    done = command("import-coordinates", "a", "--data", "b", "--epochs", "none", "--output", "c")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "argument --epochs: 'none' found; needed: a whole number of at least 1"
    )


def test_it_knows_no_torch():
    code = "import sys, ftft.interop.cartography; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, check=False)
    assert done.returncode == 0
