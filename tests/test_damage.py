"""Whatever is wrong with an artifact, whoever reads it says so in one line that names it."""

import itertools
import json
import shutil
from pathlib import Path

import generated
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from ftft.compute.batching import FeatureDataset, TokenizedDataset
from ftft.compute.schemas import features_schema
from ftft.core import artifacts
from ftft.core.artifacts import read_metadata, read_table, write_table
from ftft.core.errors import UserError
from ftft.core.files import sha256
from ftft.data import tokens
from ftft.data.schemas import tokens_schema
from ftft.display import tables, webpage
from ftft.dynamics import datamap, guidance, selection
from ftft.dynamics.artifact import read_dynamics, write_dynamics
from ftft.dynamics.schemas import DATAMAP, read_subset
from ftft.experiment import outputs
from ftft.experiment.layout import Layout
from ftft.models.saved import read_step
from ftft.results import comparison, cost_curve, summary, transfer

ROWS = 60
TOKENS = tokens_schema(token_types=False)
FEATURES = features_schema(2)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The results of an experiment, made up."""
    folder = tmp_path_factory.mktemp("damage") / "results"
    generated.write(generated.experiment(), folder, ROWS)
    of_data = read_table(folder / "data/train.parquet", ["uid", "label"])
    facts = {"labels": json.dumps(generated.LABELS), "content_hash": "a"}
    ids = {"input_ids": [[1, 2, 3]] * ROWS, "length": [3] * ROWS}
    write_table(pa.table({**dict(zip(of_data.column_names, of_data.columns, strict=True)), **ids}),
                folder / "tokens/m/train.parquet", TOKENS, facts)  # fmt: skip
    values = {"first": [[0.5, 1.0]] * ROWS, "mean": [[0.25, 2.0]] * ROWS}
    write_table(pa.table({**dict(zip(of_data.column_names, of_data.columns, strict=True)), **values}),
                folder / "features/m/train.parquet", FEATURES, facts)  # fmt: skip
    (folder / "source/m").mkdir(parents=True)
    tokenizer = folder / "source/m/tokenizer.json"
    Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(tokenizer))
    identity = {"max_positions": 8, "pad_id": 0, "token_types": False, "unk_id": None, "vocab_size": None}
    identity |= {"files": {"tokenizer.json": sha256(tokenizer)}}
    (folder / "source/m/source.json").write_text(json.dumps(identity))
    return folder


@pytest.fixture
def results(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "results"))


# What reads each kind of artifact: the stage, the artifact, and the call.
DYNAMICS, TRAIN, MAP = "reference/small/seed0/dynamics.parquet", "data/train.parquet", "datamap/small/seed0.parquet"
EVALUATION = "evaluation/reference/large/seed0/final"
CURVE, COST = "reference/small/seed0/metrics.parquet", "reference/small/seed0/cost.parquet"
FEATURE_FILE = "features/m/train.parquet"
OUT = "out.parquet", "out.csv"


def _entries(results):
    return outputs.entries(generated.experiment(), Layout(str(results)))


def _compare_references(results):
    told = outputs.transfer(generated.experiment(), Layout(str(results)))
    files = [(results / f"{name}.parquet", results / f"{name}.csv") for name in ("a", "b")]
    transfer.write(told, results / "data/dev.parquet", *files, results / "a.txt")


def _to_tables(function):
    return lambda results: function(_entries(results), *(results / name for name in OUT))


def _tokenize(results):
    source = results / "source/m"
    tokens.tokenize(results / TRAIN, source / "tokenizer.json", source / "source.json", results / OUT[0], 8)


def _page(results):
    webpage.write(**generated.page_arguments(generated.experiment(), results))


def _tables(results):
    plan = generated.experiment()
    references = results / "references.parquet"
    named = {"summary": results / "summary.parquet", "comparison": results / "comparison.parquet"}
    tables.write(outputs.tables(plan, Layout(str(results))), plan.config.data.metric, **named, references=references)


READERS = {
    "tokenize: source": ("source/m/source.json", _tokenize),
    "tokenize: tokenizer": ("source/m/tokenizer.json", _tokenize),
    "tokenize: data": (TRAIN, _tokenize),
    "train: tokens": ("tokens/m/train.parquet", lambda r: TokenizedDataset.read(r / "tokens/m/train.parquet")),
    "train: features": (FEATURE_FILE, lambda r: FeatureDataset.read(r / FEATURE_FILE, "both")),
    "train: subset": ("subset/random-0.33/seed0.parquet", lambda r: read_subset(
        r / "subset/random-0.33/seed0.parquet", read_table(r / TRAIN, ["uid"])["uid"])),
    "train: guide": (DYNAMICS, lambda r: guidance.read_epoch(r / DYNAMICS, ROWS, 0, "key")),
    "datamap: dynamics": (DYNAMICS, lambda r: datamap.write(r / DYNAMICS, r / TRAIN, r / OUT[0])),
    "datamap: data": (TRAIN, lambda r: datamap.write(r / DYNAMICS, r / TRAIN, r / OUT[0])),
    "select: data map": (MAP, lambda r: selection.write(r / MAP, r / OUT[0], "ambiguous", 0.33)),
    "select: data": (TRAIN, lambda r: selection.write(r / TRAIN, r / OUT[0], "random", 0.33)),
    "references: data map": (MAP, _compare_references),
    "references: curve": (CURVE, _compare_references),
    "references: cost": (COST, _compare_references),
    "references: dev": ("data/dev.parquet", _compare_references),
    "evaluate: curve": (CURVE, lambda r: read_step(r / CURVE, "final")),
    "compare: predictions": (f"{EVALUATION}/predictions/plain.parquet", _to_tables(comparison.compare)),
    "costs: curve": ("reference/large/seed0/metrics.parquet", _to_tables(cost_curve.trace)),
    "costs: cost": ("reference/large/seed0/cost.parquet", _to_tables(cost_curve.trace)),
    "summarize: metrics": (f"{EVALUATION}/metrics.parquet", _to_tables(summary.summarize)),
    "summarize: cost": ("reference/large/seed0/cost.parquet", _to_tables(summary.summarize)),
    **{f"page: {name}": (f"{name}.parquet", _page) for name in
       ("summary", "comparison", "cost_curve", "forecast", "memory", "references", "transfer")},
    "page: data": (TRAIN, _page),
    "page: dynamics": (DYNAMICS, _page),
    "page: data map": (MAP, _page),
    "page: subset": ("subset/small/ambiguous-0.33/seed0.parquet", _page),
    **{f"tables: {name}": (f"{name}.parquet", _tables) for name in ("summary", "comparison", "references")},
}  # fmt: skip


def _without_its_columns(path: Path) -> None:
    if path.suffix == ".json":
        return path.write_text("{}") and None
    metadata, table = read_metadata(path), pa.table({"other": [1, 2]})
    return write_table(table, path, table.schema, metadata)


def _garbled(path: Path) -> None:
    content = path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") if path.suffix == ".parquet" else len(content) // 2
    end = len(content) - footer - 8
    path.write_bytes(content[:4] + bytes(byte ^ 0xFF for byte in content[4:end]) + content[end:])


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2]),
    "garbled": _garbled,
    "something else": lambda path: path.write_text("<html>"),
    "without its columns": _without_its_columns,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "gone": lambda path: path.unlink(),
}


# Nothing but its metadata is read, or another check comes first.
NOT_SEEN = {
    ("evaluate: curve", "garbled"),
    ("evaluate: curve", "without its columns"),
}


@pytest.mark.parametrize(
    ("reader", "damage"), [each for each in itertools.product(READERS, DAMAGE) if each not in NOT_SEEN]
)
def test_a_damaged_artifact_is_one_line(results, reader, damage):
    name, call = READERS[reader]
    DAMAGE[damage](results / name)
    with pytest.raises(UserError) as caught:
        call(results)
    message = str(caught.value)
    assert name in message
    assert "run again" in message or "rerun" in message
    assert "\n" not in message
    assert len(message) <= 400


def rewritten(path: Path, change, **metadata: str) -> None:
    """Write an artifact again, checksums and all, as other code would."""
    table = change(read_table(path))
    write_table(table, path, table.schema, read_metadata(path) | metadata)


def replaced(name, values):
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))


def first_is(name, value):
    return lambda table: replaced(name, [value, *table[name].to_pylist()[1:]])(table)


NAN = float("nan")


@pytest.mark.parametrize(
    ("reader", "change", "words"),
    [
        ("train: tokens", first_is("length", 4), "not as long as length says"),
        ("train: tokens", first_is("label", 3), "label 3 in row 0 is none of the 3 classes"),
        ("train: tokens", first_is("label", -1), "label -1"),
        ("train: tokens", lambda table: table.slice(0, 0), "no examples"),
        ("train: features", first_is("mean", [NAN, 1.0]), "row 0 are not finite"),
        ("train: subset", lambda table: pa.concat_tables([table, table.slice(0, 1)]), "only 19 are different"),
        ("train: subset", first_is("uid", "other\x1b[31m"), r"'other\\x1b\[31m', are not in the train set"),
        ("select: data map", first_is("variability", NAN), "variability has numbers that are not finite"),
        ("select: data map", lambda table: pa.concat_tables([table, table]), "a uid stands in it more than once"),
        ("datamap: data", first_is("label", -1), "label -1 in row 0"),
        ("references: data map", first_is("variability", NAN), "not finite"),
        ("references: curve", lambda table: table.filter(pc.field("dataset") != "in_distribution"), "dev set"),
        ("references: cost", lambda table: table.filter(pc.field("stage") != "train"), "has 0 rows for stage train"),
        ("references: dev", first_is("label", 9), "label 9 in row 0"),
        ("compare: predictions", first_is("logits", [NAN, 0.0, 0.0]), "row 0 are not finite"),
        ("compare: predictions", first_is("label", 7), "label 7 in row 0|not those of the other runs"),
        ("summarize: metrics", first_is("value", NAN), "value has numbers that are not finite"),
        ("summarize: cost", first_is("flops", float("inf")), "flops has numbers that are not finite"),
        ("page: data map", first_is("region", "elsewhere"), "regions 'elsewhere'"),
        ("page: summary", first_is("value", NAN), "value has numbers"),
    ],
)  # fmt: skip
def test_values_that_would_mislead_are_refused(results, reader, change, words):
    name, call = READERS[reader]
    rewritten(results / name, change)
    with pytest.raises(UserError, match=words) as caught:
        call(results)
    assert Path(name).name in str(caught.value)


def test_dynamics_of_other_data_are_refused(results):
    rewritten(results / TRAIN, lambda table: table, content_hash="a")
    logits = read_dynamics(results / DYNAMICS, ROWS)
    for of, allowed in (("a", True), ("b", False)):
        write_dynamics(list(logits), results / DYNAMICS, 3, {"content_hash": of})
        if allowed:
            datamap.write(results / DYNAMICS, results / TRAIN, results / MAP)
            assert read_metadata(results / MAP)["content_hash"] == "a"
            continue
        for call in (
            lambda: datamap.write(results / DYNAMICS, results / TRAIN, results / OUT[0]),
            lambda: _page(results),
        ):
            with pytest.raises(UserError, match=r"dynamics.parquet was made from other data than .*delete both"):
                call()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"final": "x"}', '{"final": null}', '{"final": true}'])
def test_metadata_that_do_not_say_the_step_of_a_model_are_refused(results, text):
    rewritten(results / CURVE, lambda table: table, checkpoints=text)
    with pytest.raises(UserError, match=r"metrics.parquet is damaged: checkpoints in its metadata do not say"):
        read_step(results / CURVE, "final")


@pytest.mark.parametrize("text", ["", "-1", "1.5", "nan", "²"])
def test_metadata_that_are_no_number_are_refused(results, text):
    rewritten(results / MAP, lambda table: table, burn_in=text)
    with pytest.raises(UserError, match=r"burn_in in its metadata is .*, which is no number"):
        _page(results)


def test_a_data_map_is_not_written_with_numbers_that_are_not_finite(results, monkeypatch):
    whole = datamap.compute

    def broken(*arguments, **settings):
        columns = whole(*arguments, **settings)
        return columns | {"aum": np.where(np.arange(ROWS) == 3, NAN, columns["aum"])}

    monkeypatch.setattr(datamap, "compute", broken)
    with pytest.raises(UserError, match=r"aum of row 3 of the data map of .*dynamics.parquet is not finite"):
        datamap.write(results / DYNAMICS, results / TRAIN, results / OUT[0])
    assert not (results / OUT[0]).exists()


def test_a_table_whose_column_has_another_type_is_refused(results):
    path = results / MAP
    rewritten(path, lambda table: table.set_column(2, "confidence", table["confidence"].cast(pa.string())))
    with pytest.raises(UserError, match="confidence holds string instead of double"):
        artifacts.read(path, DATAMAP)
