"""The tokens artifact holds what transformers' own tokenizer gives, and only what the model can take."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import FAMILIES, MAX_POSITIONS
from transformers import AutoTokenizer

from ftft.core.artifacts import read_metadata, read_table
from ftft.core.errors import UserError
from ftft.data import tokens
from ftft.data.schemas import tokens_schema
from ftft.models import pretrained

WITH_TOKEN_TYPES = {"bert", "electra"}

FIRST = [
    "The tall nurse saw the farmer.",
    "",
    "a" * 400,
    "the nurse " * 60,
    "Ünïcödé 漢字 🙂 \t tabs\nand  double  spaces ",
    "[SEP] </s> the [CLS]",
    "house",
    "in the garden " * 30,
]
SECOND = ["He never helped.", "", "short", "the farmer " * 50, "naïve", "", "the nurse " * 80, "in the house " * 31]
LABELS = [0, 1, 2, 0, 1, 2, 0, 1]


def tokenize(data, source, output, max_length=32):
    tokens.tokenize(data, source / "tokenizer.json", source / "source.json", output, max_length)
    return read_table(output)


@pytest.mark.parametrize("pairs", [None, SECOND], ids=["single", "pair"])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_as_transformers(tmp_path, write_data, sources, family, pairs):
    data = write_data(tmp_path / "data.parquet", FIRST, LABELS, pairs)
    found = tokenize(data, sources[family], tmp_path / "tokens.parquet")
    expected = AutoTokenizer.from_pretrained(sources[family])(
        FIRST, pairs, truncation="longest_first", max_length=32, return_token_type_ids=True
    )
    assert found["input_ids"].to_pylist() == expected["input_ids"]
    assert found["length"].to_pylist() == [len(ids) for ids in expected["input_ids"]]
    assert found["uid"].to_pylist() == [f"u{row}" for row in range(len(FIRST))]
    assert found["label"].to_pylist() == LABELS
    assert found.schema.remove_metadata() == tokens_schema(token_types=family in WITH_TOKEN_TYPES)
    if family in WITH_TOKEN_TYPES:
        assert found["token_type_ids"].to_pylist() == expected["token_type_ids"]


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_by_hand(tmp_path, write_data, sources, family):
    """[CLS] A [SEP] B [SEP], or <s> A </s></s> B </s>; an empty text leaves the special tokens alone."""
    data = write_data(tmp_path / "data.parquet", ["nurse", ""], [0, 1], ["house", ""])
    found = tokenize(data, sources[family], tmp_path / "tokens.parquet")
    tokenizer = AutoTokenizer.from_pretrained(sources[family])
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    first, second = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("nurse", "house"))
    middle = [sep, sep] if family == "roberta" else [sep]
    assert found["input_ids"].to_pylist() == [[cls, *first, *middle, *second, sep], [cls, *middle, sep]]
    if family in WITH_TOKEN_TYPES:
        types = [[0] * (len(first) + 2) + [1] * (len(second) + 1), [0, 0, 1]]
        assert found["token_type_ids"].to_pylist() == types


def test_the_longer_text_is_truncated_first(tmp_path, write_data, sources):
    def kept(first: int, second: int) -> tuple[int, int]:
        data = write_data(tmp_path / "data.parquet", ["the " * first], [0], ["in " * second])
        found = tokenize(data, sources["bert"], tmp_path / "tokens.parquet", max_length=13)
        types = found["token_type_ids"].to_pylist()[0]
        return types.count(0) - 2, types.count(1) - 1

    assert kept(3, 4) == (3, 4)
    assert kept(20, 4) == (6, 4)
    assert kept(2, 30) == (2, 8)
    assert kept(30, 30) == (5, 5)


def test_metadata_is_that_of_the_data_and_more(tmp_path, write_data, sources):
    data = write_data(tmp_path / "data.parquet", FIRST, LABELS)
    tokenize(data, sources["bert"], tmp_path / "tokens.parquet", max_length=9)
    labels = json.dumps(["class0", "class1", "class2"])
    assert read_metadata(tmp_path / "tokens.parquet") == {"labels": labels, "max_length": "9", "rows": "8"}


def test_same_bytes_twice_and_whatever_the_size_of_chunks(tmp_path, write_data, sources, monkeypatch):
    data = write_data(tmp_path / "data.parquet", FIRST, LABELS, SECOND)
    tokenize(data, sources["bert"], tmp_path / "a.parquet")
    monkeypatch.setattr(tokens, "CHUNK", 3)
    tokenize(data, sources["bert"], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_more_tokens_than_positions_are_refused(tmp_path, write_data, sources, family):
    data = write_data(tmp_path / "data.parquet", FIRST, LABELS)
    tokenize(data, sources[family], tmp_path / "fits.parquet", max_length=MAX_POSITIONS)
    with pytest.raises(UserError) as failure:
        tokenize(data, sources[family], tmp_path / "tokens.parquet", max_length=MAX_POSITIONS + 1)
    assert str(failure.value) == (
        f"max_length is 65, but the model {family} has only 64 positions: set training.max_length, or the model's own "
        "max_length, to 64 or less"
    )
    assert not (tmp_path / "tokens.parquet").exists()


def test_model_without_a_limit_takes_any_length(tmp_path, write_data, sources):
    data = write_data(tmp_path / "data.parquet", FIRST, LABELS)
    source = json.loads((sources["bert"] / "source.json").read_text()) | {"max_positions": None}
    (tmp_path / "source.json").write_text(json.dumps(source))
    tokens.tokenize(
        data, sources["bert"] / "tokenizer.json", tmp_path / "source.json", tmp_path / "t.parquet", max_length=1000
    )
    assert max(read_table(tmp_path / "t.parquet")["length"].to_pylist()) > MAX_POSITIONS


def test_tokenizer_that_knows_none_of_the_words(tmp_path, write_data, sources, caplog):
    """Refused where next to nothing is known, mentioned where much is not."""
    strange, known = ["漢字 かな", "字漢 なか"], ["the nurse", "a house in the garden."]
    data = write_data(tmp_path / "strange.parquet", strange, [0, 1])
    with pytest.raises(UserError, match=r"of the model bert knows next to nothing of .*strange\.parquet: 100% of the"):
        tokenize(data, sources["bert"], tmp_path / "tokens.parquet")
    assert not (tmp_path / "tokens.parquet").exists()
    tokenize(
        write_data(tmp_path / "mixed.parquet", strange + known, LABELS[:4]), sources["bert"], tmp_path / "t.parquet"
    )
    assert "the tokenizer of the model bert knows" in caplog.text
    caplog.clear()
    tokenize(write_data(tmp_path / "known.parquet", known, [0, 1]), sources["bert"], tmp_path / "t.parquet")
    assert caplog.text == ""


def test_token_without_an_embedding(tmp_path, write_data, saved):
    """As where tokens were added to a tokenizer and not to its model."""
    folder = Path(shutil.copytree(saved["bert"], tmp_path / "model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["@user"])
    tokenizer.save_pretrained(folder)
    pretrained.prepare({"path": str(folder)}, tmp_path / "source")
    tokenize(
        write_data(tmp_path / "a.parquet", ["the nurse", "house"], [0, 1]), tmp_path / "source", tmp_path / "t.parquet"
    )
    data = write_data(tmp_path / "b.parquet", ["the nurse", "@user"], [0, 1])
    with pytest.raises(
        UserError, match=rf"gives the token {rows}, but its embedding has only {rows} rows, from 0: call"
    ):
        tokenize(data, tmp_path / "source", tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["source.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_damaged_source(tmp_path, write_data, sources, name, content):
    source = Path(shutil.copytree(sources["bert"], tmp_path / "source"))
    (source / name).write_bytes(content)
    data = write_data(tmp_path / "data.parquet", ["the nurse", "house"], [0, 1])
    with pytest.raises(UserError, match=rf"^{source / name} is damaged: .*; delete the file and run again"):
        tokenize(data, source, tmp_path / "tokens.parquet")
