"""Decoders as classifiers: their padding, the token that they read, their depth and dropout, and saved models."""

import json
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import DECODERS
from tokenizers import Tokenizer, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, BertTokenizer, pipeline

from ftft.core.errors import UserError
from ftft.models import classifier, decoders, pretrained

LABELS = ["no", "maybe", "yes"]


def saved(folder: Path, source: Path, **changes: Any) -> Path:
    """A pretrained language model of a source's kind, with ``changes`` in its tokenizer's settings."""
    torch.manual_seed(11)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | changes
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def plain(family: str, source: Path, mask: torch.Tensor, ids: torch.Tensor, model: Any) -> torch.Tensor:
    """Logits of a model's own modules, applied to the state of the last token where the mask is on."""
    states = type(model.base_model).forward(model.base_model, input_ids=ids, attention_mask=mask).last_hidden_state
    last = torch.stack([row[places.nonzero().max()] for row, places in zip(states, mask, strict=True)])
    if family == "modernbert-decoder":
        return model.classifier(model.drop(model.head(last)))
    return model.score(last)


@pytest.mark.parametrize("family", DECODERS)
def test_the_last_token_is_read_whatever_pads(decoder_sources, family):
    """Also where it is the padding token itself, which is the end of a text too; on either side."""
    model = classifier.build(decoder_sources[family], LABELS, seed=0).eval()
    end = model.config.pad_token_id
    texts = [[5, 6, 7, 8, end], [9, end, end], [end], [7, 6, 5, 8, 9, 10, 11]]
    for left in (False, True) if family != "gpt2" else (False,):  # GPT-2 counts its positions from the left
        ids, mask = torch.full((4, 9), end), torch.zeros(4, 9, dtype=torch.long)
        for row, text in enumerate(texts):
            places = slice(-len(text), None) if left else slice(len(text))
            ids[row, places], mask[row, places] = torch.tensor(text), 1
        with torch.no_grad():
            batch = model(input_ids=ids, attention_mask=mask).logits
            alone = torch.cat([model(input_ids=torch.tensor([text])).logits for text in texts])
            expected = plain(family, decoder_sources[family], mask, ids, model)
        torch.testing.assert_close(batch, alone)
        torch.testing.assert_close(batch, expected)


@pytest.mark.parametrize("family", DECODERS)
def test_a_saved_decoder_predicts_in_a_pipeline_what_it_did(tmp_path, decoder_sources, family):
    """Texts of several lengths in one batch."""
    pretrained.prepare(
        {"path": str(saved(tmp_path / "lm", decoder_sources[family], pad_token=None))}, tmp_path / "source"
    )
    model = classifier.build(tmp_path / "source", LABELS, seed=3, layers=2).eval()
    classifier.save(
        model, {k: 2 * v for k, v in model.state_dict().items()}, tmp_path / "source", tmp_path / "model", ""
    )
    loaded = classifier.load(tmp_path / "model")
    classify = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu", top_k=None, batch_size=3)
    assert classify.tokenizer.pad_token_id == classify.model.config.pad_token_id is not None
    texts = ["the tall nurse saw a farmer in the garden.", "house", "never a nurse"]
    for text, found in zip(texts, classify(texts), strict=True):
        with torch.no_grad():
            ids = torch.tensor([classify.tokenizer.backend_tokenizer.encode(text).ids])
            expected = loaded(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.softmax(-1)[0]
        scores = {entry["label"]: entry["score"] for entry in found}
        assert [scores[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_first_layers_of_a_decoder_are_those_of_the_whole(tmp_path, decoder_sources, family, layers):
    """Their states are those that the whole model has after so many layers, but for the last norm."""
    folder = saved(tmp_path / "lm", decoder_sources[family])
    pretrained.prepare({"path": str(folder)}, tmp_path / "source")
    model = classifier.build(tmp_path / "source", LABELS, seed=0, layers=layers).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    whole = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    norm = next(
        getattr(whole, name) for name in ("norm", "ln_f", "final_layer_norm", "final_norm") if hasattr(whole, name)
    )
    with torch.no_grad():
        states = whole(input_ids=ids, output_hidden_states=True)
        expected = states.hidden_states[layers] if layers < 3 else None
        found = type(model.base_model).forward(model.base_model, input_ids=ids).last_hidden_state
        torch.testing.assert_close(found, states.last_hidden_state if expected is None else norm(expected))
    assert model.config.num_hidden_layers == layers
    assert len(getattr(model.config, "layer_types", None) or range(layers)) == layers
    classifier.save(model, model.state_dict(), tmp_path / "source", tmp_path / "model", "")
    assert classifier.load(tmp_path / "model").config.num_hidden_layers == layers


def test_a_decoder_whose_layers_have_a_pattern_is_cut_with_it(tmp_path, decoder_sources):
    config = AutoConfig.from_pretrained(decoder_sources["qwen2"])
    settings = config.to_dict() | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    settings["layer_types"] = None
    type(config)(**settings).save_pretrained(tmp_path)
    assert classifier.read_config(tmp_path).layer_types == ["full_attention", *["sliding_attention"] * 2]
    assert classifier.read_config(tmp_path, 2).layer_types == ["full_attention", "sliding_attention"]


def test_an_architecture_that_cannot_be_cut_is_one_line(tmp_path):
    AutoConfig.for_model("funnel", vocab_size=300).save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=r"^layers: funnel cannot be cut to its first layers, leave layers out: "
    ) as line:
        classifier.read_config(tmp_path, 1)
    assert "\n" not in str(line.value)


@pytest.mark.parametrize("family", DECODERS)
def test_dropout_reaches_every_rate_of_a_decoder(decoder_sources, family):
    model = classifier.build(decoder_sources[family], LABELS, seed=0, dropout=0.37)
    rates = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    rates |= {module.attention_dropout for module in model.modules() if hasattr(module, "attention_dropout")}
    # Of what is not a module, the mean over many passes of a constant tells.
    assert rates - {model.config.attention_dropout if hasattr(model.config, "attention_dropout") else 0.37} <= {0.37}
    assert 0.37 in rates


CHOICES = {
    "its own": ({"pad_token": "tall"}, {}, "tall"),
    "the end of a text": ({"pad_token": None}, {}, "<|endoftext|>"),
    "a reserved one": ({"pad_token": None}, {"<|padding|>": 60}, "<|padding|>"),
    "not what it puts at the end": ({"pad_token": "<|endoftext|>", "unk_token": "<unk>"}, {"<unk>": 60}, "<unk>"),
    "none without an embedding": ({"pad_token": None}, {"<|padding|>": 100}, "<|endoftext|>"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_padding_token(case):
    """Words with a number each; the model has an embedding of a hundred."""
    own, more, expected = CHOICES[case]
    vocab = {"<|endoftext|>": 0, "tall": 1, "a": 2} | more
    tokenizer = Asked(vocab, {"eos_token": "<|endoftext|>", "unk_token": None, "bos_token": None} | own)
    tokenizer.ends = case.startswith("not what")
    config = SimpleNamespace(vocab_size=100)
    decoders.prepare(config, tokenizer, "it")
    assert (tokenizer.pad_token, config.pad_token_id, tokenizer.padding_side) == (expected, vocab[expected], "right")


class Asked(SimpleNamespace):
    """What ``decoders.prepare`` asks of one."""

    def __init__(self, vocab: dict[str, int], names: dict[str, str | None]) -> None:
        super().__init__(vocab=vocab, ends=False, init_kwargs={}, **names)

    @property
    def pad_token_id(self) -> int:
        return self.vocab[self.pad_token]

    def get_vocab(self) -> dict[str, int]:
        return self.vocab

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [self.vocab[text], *[self.vocab.get(self.eos_token)] * self.ends]}


def test_a_tokenizer_without_a_token_that_can_pad_is_one_line():
    names = {"pad_token": None, "eos_token": None, "unk_token": None, "bos_token": None}
    with pytest.raises(UserError) as line:
        decoders.prepare(SimpleNamespace(vocab_size=9), Asked({"a": 2}, names), "the model x")
    assert str(line.value) == (
        "the tokenizer of the model x has no token that can pad, without which texts make no batch: add pad_token to "
        "its tokenizer_config.json"
    )


def test_beginning_and_end_are_as_the_tokenizer_has_them(tmp_path, decoder_sources):
    """A tokenizer that ends each text keeps doing so, and another token pads."""
    folder = saved(tmp_path / "lm", decoder_sources["llama"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.eos_token_id
    tokenizer.add_special_tokens({"unk_token": "!"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A <|endoftext|>", special_tokens=[("<|endoftext|>", end)]
    )
    tokenizer.save_pretrained(folder)
    pretrained.prepare({"path": str(folder)}, tmp_path / "source")
    source = pretrained.read_source(tmp_path / "source")
    prepared = AutoTokenizer.from_pretrained(tmp_path / "source")
    ids = prepared("nurse")["input_ids"]
    assert (ids[0], ids[-1], len(ids) > 2) == (end, end, True)
    assert source["pad_id"] == prepared.pad_token_id == classifier.read_config(tmp_path / "source").pad_token_id != end


def test_a_model_of_text_and_images_is_one_line(tmp_path, decoder_sources):
    folder = Path(shutil.copytree(decoder_sources["gemma3_text"], tmp_path / "model"))
    text = json.loads((folder / "config.json").read_text())
    AutoConfig.for_model("gemma3", text_config=text).save_pretrained(folder)
    AutoModel.from_config(AutoConfig.from_pretrained(decoder_sources["gemma3_text"])).save_pretrained(tmp_path / "w")
    shutil.copy(tmp_path / "w/model.safetensors", folder)
    with pytest.raises(
        UserError, match=r"is a model of more than text \(gemma3\), which is not supported: choose an encod"
    ):
        pretrained.prepare({"path": str(folder)}, tmp_path / "source")


def test_a_saved_tokenizer_gives_what_it_gave(tmp_path):
    """Also one of a class that gives token types, which GPT-2 would add to each position."""
    vocabulary = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])}
    tokenizer = BertTokenizer(vocab=vocabulary, padding_side="left")
    config = AutoConfig.for_model("gpt2", vocab_size=len(vocabulary))
    decoders.prepare(config, tokenizer, "it")
    config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert list(again("a")) == list(tokenizer("a")) == ["input_ids", "attention_mask"]
    assert again.padding_side == "right"


@pytest.mark.parametrize("named", ["GPT2Tokenizer", None])
def test_texts_are_cut_as_the_file_of_a_tokenizer_says(tmp_path, decoder_sources, named):
    """Whatever the class does that its settings name."""
    folder = saved(tmp_path / "lm", decoder_sources["llama"], **({"tokenizer_class": named} if named else {}))
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), own.pre_tokenizer])
    own.save(str(folder / "tokenizer.json"))
    form = json.loads((folder / "tokenizer.json").read_text())
    form["pre_tokenizer"]["pretokenizers"][-1].pop("use_regex", None)  # as files leave out what is the default
    (folder / "tokenizer.json").write_text(json.dumps(form))
    pretrained.prepare({"path": str(folder)}, tmp_path / "source")
    model = classifier.build(tmp_path / "source", LABELS, seed=0)
    classifier.save(model, model.state_dict(), tmp_path / "source", tmp_path / "model", "")
    for place in ("source", "model"):
        found = AutoTokenizer.from_pretrained(tmp_path / place).backend_tokenizer
        for text in ("in 2026", "a\n\n12"):
            pieces = [piece for piece, _ in own.pre_tokenizer.pre_tokenize_str(text)]
            assert [piece for piece, _ in found.pre_tokenizer.pre_tokenize_str(text)] == pieces
            assert found.encode(text).ids == own.encode(text).ids


def test_scores_that_are_capped_are_computed_in_the_plain_implementation(tmp_path, decoder_sources):
    """PyTorch's own leaves the cap out."""
    model = classifier.build(decoder_sources["gemma2"], LABELS, seed=0, attention="sdpa")
    assert model.config._attn_implementation == "eager"
    classifier.save(model, model.state_dict(), decoder_sources["gemma2"], tmp_path / "model", "")
    assert classifier.load(tmp_path / "model", "sdpa").config._attn_implementation == "eager"
    assert classifier.build(decoder_sources["llama"], LABELS, seed=0, attention="sdpa").config._attn_implementation == (
        "sdpa"
    )


def test_a_saved_model_may_be_read_by_whom_the_umask_says(tmp_path, decoder_sources):
    model = classifier.build(decoder_sources["llama"], LABELS, seed=0)
    before = os.umask(0o027)
    try:
        classifier.save(model, model.state_dict(), decoder_sources["llama"], tmp_path / "model", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model/model.safetensors").stat().st_mode) == 0o640
