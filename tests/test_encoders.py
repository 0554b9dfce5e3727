"""Multilingual encoders and those of the last years: tokens, positions, and what is read of them, on small ones."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from ftft.compute.flops import FlopCount
from ftft.core.artifacts import read_table
from ftft.core.errors import UserError
from ftft.data import tokens
from ftft.models import classifier, heads, pretrained

NEWER = ("xlm-roberta", "eurobert", "modernbert")  # Ettin is a ModernBERT, mDeBERTa a DeBERTa-v2
LABELS = ["no", "maybe", "yes"]
FIRST, SECOND = ["the tall nurse", "naïve 漢字", ""], ["saw a farmer.", "house", "never"]


@pytest.fixture(scope="module", params=NEWER)
def source(request, tmp_path_factory, scratch, train_data):
    """A prepared folder with a pretrained model of a family, and the model."""
    folder = tmp_path_factory.mktemp("encoders")
    pretrained.prepare({"scratch": scratch(request.param)}, folder / "scratch", train_data)
    torch.manual_seed(1)
    AutoModel.from_config(AutoConfig.from_pretrained(folder / "scratch")).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(folder / "scratch").save_pretrained(folder / "model")
    pretrained.prepare({"path": str(folder / "model")}, folder / "source")
    return folder / "source"


def test_tokens_are_those_of_its_tokenizer_without_types(tmp_path, write_data, source):
    data = write_data(tmp_path / "data", FIRST, [0, 1, 2], SECOND)
    tokens.tokenize(data, source / "tokenizer.json", source / "source.json", tmp_path / "tokens", 32)
    table = read_table(tmp_path / "tokens")
    assert table["input_ids"].to_pylist() == AutoTokenizer.from_pretrained(source)(FIRST, SECOND)["input_ids"]
    assert "token_type_ids" not in table.column_names
    assert not pretrained.read_source(source)["token_types"]


def test_every_position_that_is_allowed_can_be_used(source):
    model = classifier.build(source, LABELS, seed=0).eval()
    ids = torch.full((2, pretrained.read_source(source)["max_positions"]), 7)
    assert ids.shape[1] == 64
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (2, 3)


def test_padding_makes_no_difference(source):
    model = classifier.build(source, LABELS, seed=0).eval()
    pad = pretrained.read_source(source)["pad_id"]
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [9, 8, 7, pad, pad, pad]])
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask).logits[1]
        torch.testing.assert_close(found, model(input_ids=ids[1:, :3], attention_mask=mask[1:, :3]).logits[0])


def test_depth_dropout_and_a_saved_model(tmp_path, source):
    model = classifier.build(source, LABELS, seed=0, layers=2, dropout=0.25).eval()
    assert model.config.num_hidden_layers == 2
    assert {value for key, value in vars(model.config).items() if key.endswith(("dropout", "dropout_prob"))} == {0.25}
    classifier.save(model, model.state_dict(), source, tmp_path / "model", "")
    classify = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu", top_k=None)
    with torch.no_grad():
        expected = model(**classify.tokenizer("the nurse", return_tensors="pt")).logits.softmax(-1)[0]
    scores = {entry["label"]: entry["score"] for entry in classify({"text": "the nurse"})}
    assert [scores[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-6)


def test_operations_are_counted_without_memory_for_weights(source):
    made = FlopCount.of(classifier.build(source, LABELS, seed=0))
    told = FlopCount.of(classifier.architecture(source, labels=3))
    assert (made.train_pass(3, 40), made.forward_pass(2, 9)) == (told.train_pass(3, 40), told.forward_pass(2, 9))


@pytest.mark.parametrize(("pooling", "expected"), [("bos", "first"), ("mean", "mean")])
def test_what_the_head_of_eurobert_reads(pooling, expected):
    sizes = {
        "num_hidden_layers": 1,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "vocab_size": 20,
    }
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "mask_token_id": 19}
    config = AutoConfig.for_model("eurobert", classifier_pooling=pooling, **sizes, **special)
    assert heads.features_of(config) == expected
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        whole, states = model(input_ids=ids).logits, model.model(input_ids=ids).last_hidden_state
        read = {"first": states[:, :1], "mean": states.mean(1, keepdim=True)}[expected]
        torch.testing.assert_close(heads.probe(model)(inputs_embeds=read).logits, whole)


def test_a_head_that_reads_each_token_by_itself_takes_no_features():
    with pytest.raises(UserError, match=r"^head: probe cannot start the head of eurobert, which reads each token"):
        heads.features_of(AutoConfig.for_model("eurobert"))
