"""Texts of a pair are joined by a separator where the tokenizer puts nothing between them, and nowhere else."""

import json

import pytest
from conftest import DECODERS, FAMILIES, TOY_DATA
from test_decoders import saved
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ftft.core.artifacts import read_metadata, read_table
from ftft.core.errors import UserError
from ftft.core.files import sha256
from ftft.data import tokens
from ftft.experiment import config
from ftft.experiment.plan import Plan
from ftft.models import card, pairs, pretrained

FIRST, SECOND = ["the tall nurse", "", "the nurse " * 30], ["saw a farmer.", "house", "in the garden " * 30]


def tokenize(data, source, output):
    tokens.tokenize(data, source / "tokenizer.json", source / "source.json", output, 32)
    return read_table(output)["input_ids"].to_pylist(), read_metadata(output)


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("separator", [None, " then "])
def test_a_decoder_gets_a_separator_and_single_texts_stay(tmp_path, write_data, decoder_sources, family, separator):
    """As the parts alone give; the longer text is truncated first; the same from the tokenizer that is loaded."""
    folder = saved(tmp_path / "lm", decoder_sources[family])
    before = AutoTokenizer.from_pretrained(folder)
    before.backend_tokenizer.post_processor = processors.TemplateProcessing("$A", "$A $B:1", [])
    before.save_pretrained(folder)
    pretrained.prepare({"path": str(folder), "pair_separator": separator}, tmp_path / "source")
    pair, metadata = tokenize(write_data(tmp_path / "p", FIRST, [0, 1, 2], SECOND), tmp_path / "source", tmp_path / "t")
    single, plain = tokenize(write_data(tmp_path / "s", FIRST, [0, 1, 2]), tmp_path / "source", tmp_path / "u")

    def ids(text: str) -> list[int]:
        return before(text)["input_ids"]

    between = ids(separator or "\n")
    assert between
    assert pair[:2] == [[*ids(a), *between, *ids(b)] for a, b in zip(FIRST[:2], SECOND[:2], strict=True)]
    kept = 32 - len(between)
    assert pair[2] == [*ids(FIRST[2])[: kept // 2], *between, *ids(SECOND[2])[: kept - kept // 2]]
    pad = json.loads((tmp_path / "source/source.json").read_text())["pad_id"]
    assert single == [ids(text)[:32] or [pad] for text in FIRST]
    assert metadata == plain | {"pair_separator": separator or "\n"}
    loaded = AutoTokenizer.from_pretrained(tmp_path / "source")
    assert loaded(FIRST[:2], SECOND[:2])["input_ids"] == pair[:2]
    assert list(loaded("nurse")) == ["input_ids", "attention_mask"]


def words(single: str | None = None, pair: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of letters that puts ``<s>`` and ``</s>`` where it is told to."""
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", "<unk>", "a", "b", "|", "\n"])}
    made = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    split = {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}
    form = {"version": "1.0", "model": made, "pre_tokenizer": split, "added_tokens": []}
    for key in ("truncation", "padding", "normalizer", "post_processor", "decoder"):
        form[key] = None
    backend = Tokenizer.from_str(json.dumps(form))
    if single is not None:
        special = [("<s>", 0), ("</s>", 1)]
        backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


@pytest.mark.parametrize(
    ("single", "pair", "expected"),
    [
        (None, None, [3, 5, 4]),
        ("<s> $A", "<s> $A $B", [0, 3, 5, 4]),
        ("<s> $A </s>", "<s> $A $B </s>", [0, 3, 5, 4, 1]),
    ],
)
def test_beginning_and_end_stay_what_they_are(single, pair, expected):
    found, recorded = pairs.joined(words(single, pair), "|", "it")
    assert found("a", "b")["input_ids"] == expected
    assert found("a")["input_ids"] == [token for token in expected if token not in (4, 5)]
    assert recorded == {"pair_separator": "|"}


def test_a_tokenizer_with_something_between_stays_as_it_is():
    """Even if it is only the token that begins each text."""
    own = words("<s> $A", "<s> $A <s> $B")
    assert pairs.joined(own, None, "it") == (own, {})
    with pytest.raises(UserError) as line:
        pairs.joined(own, "|", "the model x")
    assert str(line.value) == (
        "pair_separator: the tokenizer of the model x puts tokens of its own between the texts of a pair; leave "
        "pair_separator out"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_encoders_have_something_between(request, tmp_path, family):
    folder = request.getfixturevalue("saved")[family]
    with pytest.raises(UserError, match=r"^pair_separator: .* puts tokens of its own between the texts"):
        pretrained.prepare({"path": str(folder), "pair_separator": "\n"}, tmp_path / "source")


def test_without_a_token_for_the_separator_pairs_are_refused(tmp_path, write_data, decoder_sources):
    folder = saved(tmp_path / "lm", decoder_sources["llama"])
    source = tmp_path / "source"
    pretrained.prepare({"path": str(folder)}, source)
    identity = json.loads((source / "source.json").read_text()) | {"pair_separator": None}
    (source / "source.json").write_text(json.dumps(identity))
    tokenize(write_data(tmp_path / "s", FIRST, [0, 1, 2]), source, tmp_path / "t")
    with pytest.raises(UserError) as line:
        tokenize(write_data(tmp_path / "p", FIRST, [0, 1, 2], SECOND), source, tmp_path / "t")
    assert str(line.value) == (
        "the tokenizer of the model source puts nothing between the texts of a pair: set pair_separator of the model "
        "to a text that it knows"
    )


def plan(**models):
    settings = {"task": "t", "data": TOY_DATA, "models": models, "mains": list(models), "methods": {"erm": {}}}
    return Plan(config.load(settings | {"seeds": [0], "training": {"steps": 4}}))


def test_tokens_of_different_separators_have_different_names():
    separators = [None, " ", "|", " | ", "\n\n", "/", "é"]
    found = plan(**{f"m{place}": {"hub": "a/b", "pair_separator": each} for place, each in enumerate(separators)})
    names = [found.tokenizer_of(f"m{place}") for place in range(len(separators))]
    assert len(set(names)) == len(separators)
    assert names[0] == "a--b"
    assert names[2] == "a--b+pair7c"
    assert "pair_separator" not in found.model_sources["a--b"]  # what was made without the setting stays as it is
    assert found.model_sources["a--b+pair7c"]["pair_separator"] == "|"


@pytest.mark.parametrize(("separator", "expected"), [("\n", 'joins them by ` "\\n" `.'), (None, None)])
def test_the_card_says_how_texts_of_a_pair_are_joined(separator, expected):
    source = {"hub": None, "package": None, "path": "x", "pair_separator": separator}
    cfg = {"layers": None, "tune": "all", "labels": ["a", "b"], "training": {"precision": "fp32"}}
    text = card.text(source, cfg, title="t", step=1, examples=1, of=1, curve=[], precision="fp32")
    assert ("`text_pair`" in text) == (expected is not None)
    assert expected is None or expected in text


def test_a_text_without_a_token_is_one_of_padding(tmp_path, write_data, decoder_sources):
    source = decoder_sources["gpt2"]
    (empty, text), _ = tokenize(write_data(tmp_path / "s", ["", "the nurse"], [0, 1]), source, tmp_path / "t")
    assert empty == [json.loads((source / "source.json").read_text())["pad_id"]]
    assert len(text) > 1


def test_tokens_that_the_tokenizer_adds_leave_room_for_a_text(tmp_path, write_data, decoder_sources):
    """Else its library would cut nothing."""
    folder = saved(tmp_path / "lm", decoder_sources["llama"])
    plain = AutoTokenizer.from_pretrained(folder)
    plain.backend_tokenizer.post_processor = processors.TemplateProcessing("$A", "$A $B:1", [])
    plain.save_pretrained(folder)
    separator = " and then he said "
    pretrained.prepare({"path": str(folder), "pair_separator": separator}, tmp_path / "source")
    source = tmp_path / "source"
    taken = Tokenizer.from_file(str(source / "tokenizer.json")).num_special_tokens_to_add(is_pair=True)
    data = write_data(tmp_path / "p", FIRST, [0, 1, 2], SECOND)
    arguments = (data, source / "tokenizer.json", source / "source.json", tmp_path / "t")
    with pytest.raises(UserError) as line:
        tokens.tokenize(*arguments, taken)
    assert str(line.value) == (
        f"max_length is {taken}, but the tokenizer of the model source adds {taken} tokens of its own: set "
        f"training.max_length, or the model's own max_length, to more than {taken}"
    )
    tokens.tokenize(*arguments, taken + 1)
    assert set(read_table(tmp_path / "t")["length"].to_pylist()) == {taken + 1}


def test_a_token_that_begins_every_text_says_nothing_of_what_is_known(tmp_path, write_data, caplog):
    """Also where it is the one of what is unknown, as in OPT's vocabulary."""
    tokenizer = words("<s> $A")
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    identity = {"max_positions": None, "token_types": False, "pad_id": 1, "unk_id": 0, "vocab_size": 7}
    identity["files"] = {"tokenizer.json": sha256(tmp_path / "tokenizer.json")}
    (tmp_path / "source.json").write_text(json.dumps(identity))
    data = write_data(tmp_path / "data", ["a", "b", "ab"], [0, 1, 2])
    tokens.tokenize(data, tmp_path / "tokenizer.json", tmp_path / "source.json", tmp_path / "t", 32)
    assert read_table(tmp_path / "t")["input_ids"].to_pylist() == [[0, 3], [0, 4], [0, 3, 4]]
    assert caplog.text == ""
