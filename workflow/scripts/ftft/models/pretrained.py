"""Where a model comes from: fetch it once, record exactly what it was, find it again without the network.

``prepare`` leaves four small files per source: ``source.json`` (identity and checksum of the weights), ``config.json``,
and the fast tokenizer in ``tokenizer.json`` and ``tokenizer_config.json``. Weights stay where they are: in the hub's
cache, in the package or in the folder.
"""

import copy
import itertools
import json
import pickle
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftft.core import artifacts
from ftft.core.errors import UserError, reason, shown
from ftft.core.files import sha256
from ftft.models import folders
from ftft.models.folders import WEIGHTS, title

FILES = ("source.json", "config.json", "tokenizer.json", "tokenizer_config.json")
# What a hub model's folder holds beside its weights: configuration, vocabulary, tokenizer.
SMALL_FILES = ("*.json", "*.txt", "*.model")
# Special tokens of the tokenizers that are made for scratch models.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Architectures that count positions from pad_token_id + 1.
ROBERTA_LIKE = (
    "camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl",
)  # fmt: skip


def prepare(source: dict[str, Any], output: Path, train: Path | None = None) -> None:
    """Fetch a model and write the files of ``FILES`` into the folder ``output``.

    Args:
        source: the source keys of a model: ``hub`` and ``revision``, ``package`` and ``path``, ``path``, or
            ``scratch``; and ``sha256`` of the weights file, or None.
        output: folder to write to.
        train: the data artifact whose texts a ``scratch`` model's tokenizer is trained on.

    Raises:
        UserError: the model cannot be had, is not what its checksum says, is damaged, lacks its tokenizer, would run
            code of its own, or is of a kind that is not supported.
    """
    identity = {key: source.get(key) for key in ("hub", "revision", "package", "path", "scratch")}
    if source.get("hub"):
        identity["revision"] = _fetch(source["hub"], source.get("revision"))
    if source.get("scratch"):
        assert train is not None
        config, tokenizer = _scratch(source["scratch"], train)
    else:
        folder = locate(identity)
        with folders.reading(title(identity)):
            identity["sha256"] = _checked_weights(folder, title(identity), source.get("sha256"))
            config, tokenizer = _load(folder, title(identity))
    # The tokenizer offers token types to every model; only an embedding of more than one type makes use of them.
    identity["token_types"] = (
        "token_type_ids" in tokenizer.model_input_names and (getattr(config, "type_vocab_size", 0) or 0) > 1
    )
    if getattr(config, "summary_type", None) == "last":  # the position that its classifier reads
        tokenizer.padding_side = "left"
    identity["pad_id"] = tokenizer.pad_token_id
    identity["unk_id"] = tokenizer.unk_token_id
    identity["vocab_size"] = getattr(config, "vocab_size", None)
    identity["max_positions"] = _max_positions(config)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as temporary:
        config.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        identity["files"] = {name: sha256(Path(temporary) / name) for name in FILES[1:]}
        text = json.dumps(identity, indent=2, sort_keys=True) + "\n"
        (Path(temporary) / "source.json").write_text(text, encoding="utf-8")
        for name in FILES:
            shutil.move(Path(temporary) / name, output / name)


def read_source(folder: Path) -> dict[str, Any]:
    """The identity that ``prepare`` recorded.

    Raises:
        UserError: one of the files that it wrote is missing or is not what it was.
    """
    identity = artifacts.read_json(folder / "source.json", "hub", "package", "path", "scratch", "pad_id", "files")
    for name, checksum in identity["files"].items():
        with folders.reading(str(folder / name)):
            if sha256(folder / name) != checksum:
                raise artifacts.damaged(folder / name, "it is not what was written")
    return identity


def weights_folder(folder: Path) -> Path | None:
    """The folder with the weights of the source prepared in ``folder``, or None for a ``scratch`` model.

    Raises:
        UserError: they are gone or are no longer those that were recorded.
    """
    identity = read_source(folder)
    if identity["scratch"]:
        return None
    found = locate(identity)
    with folders.reading(title(identity)):
        checksum = sha256(folders.weights_of(found))
    if checksum != identity["sha256"]:
        raise UserError(
            f"the weights of {title(identity)} have changed since they were prepared: checksum {checksum[:12]}, "
            f"recorded {identity['sha256'][:12]}; delete {folder} to accept the new ones"
        )
    return found


@contextmanager
def open_weights(folder: Path) -> Iterator[dict[str, Any]]:
    """The tensors in a model's folder by name; those of safetensors are read from the file when they are used.

    Raises:
        UserError: the file is damaged, or a pickle of something else than tensors, which nothing is run of.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = folders.weights_of(folder)
    folders.check_beginning(path)
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                yield {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as failure:
            raise UserError(f"{path} is damaged: {reason(failure)}; fetch or save the model again") from None
        return
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:  # its message is advice to load the file with the code in it
        raise UserError(
            f"{path} is refused: it is a pickle that holds other things than tensors, which could run code, or it is "
            f"damaged; of pickles only plain weights are read: save the model as {WEIGHTS[0]}, where you trust it"
        ) from None
    except PermissionError:
        raise
    except (RuntimeError, ValueError, EOFError, KeyError, OSError) as failure:
        raise UserError(f"{path} is damaged: {reason(failure)}; fetch or save the model again") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise UserError(f"{path} holds no weights by name: save the model with save_pretrained")
    yield tensors


def locate(identity: dict[str, Any]) -> Path:
    """The local folder of a model that is not ``scratch``; never uses the network."""
    if not identity["hub"]:
        return folders.folder_of(identity)
    cached = _cached(identity["hub"], identity["revision"])
    if cached is None:
        raise UserError(
            f"{title(identity)} is not in the local Hugging Face cache: run the rule download_model where there "
            "is network, with the same HF_HOME"
        )
    return cached


def _checked_weights(folder: Path, name: str, expected: str | None) -> str:
    """The checksum of the weights in a folder, which can be read and are the expected ones."""
    path = folders.weights_of(folder)
    for each in folders.files_of(folder):
        folders.check_beginning(each)
    checksum = sha256(path)
    if expected and expected.lower() != checksum:
        raise UserError(
            f"checksum of {path.name} of {name} is {checksum}, expected {expected}: fetch the model again, or correct "
            "sha256 in the config"
        )
    with open_weights(folder) as tensors:
        if not tensors:
            raise UserError(f"{path} holds no weights: fetch or save the model again")
    return checksum


def _load(folder: Path, name: str) -> tuple[Any, Any]:
    """The configuration and the tokenizer of a model that can be fine-tuned here."""
    from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

    _check_no_code(folder, name)
    with loading(f"{name} is not a model that transformers can load"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    _check_kind(config, name)
    with loading(f"the tokenizer of {name} is none that transformers can load"):
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{name} has no fast tokenizer: choose a model with a tokenizer.json")
    _check_tokenizer(folder, name, config, tokenizer)
    return config, tokenizer


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn whatever a library raises about files of unknown content into one line; lack of memory is none of that.

    Args:
        what: begins the line, before a colon and the reason.
    """
    import torch

    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as failure:
        raise UserError(f"{what}: {reason(failure)}") from None


def _check_no_code(folder: Path, name: str) -> None:
    """Refuse a model that needs Python code from its own folder, and one whose weights are not all of it."""
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        if not path.is_file():
            continue
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as failure:
            raise UserError(f"{path} is damaged: {reason(failure)}; fetch or save the model again") from None
        if not isinstance(settings, dict):
            raise UserError(f"{path} is damaged: it holds no object; fetch or save the model again")
        # The second kind is a repository with kernels, as the implementation of attention.
        kernels = [key for key in settings if key.endswith("implementation") and "/" in str(settings[key])]
        if key := next(iter(["auto_map"] if settings.get("auto_map") else kernels), None):
            raise UserError(
                f"{name} comes with code of its own ({key} in {path.name}), which is never run: such models are not "
                "supported; choose one of an architecture that transformers has itself"
            )
        if settings.get("quantization_config"):
            raise UserError(f"{name} has quantised weights, which cannot be fine-tuned: give the original ones")
        if settings.get("transformers_weights"):
            raise UserError(
                f"{path} names another weights file (transformers_weights): save the model again, as {WEIGHTS[0]}"
            )
    if (folder / "adapter_config.json").is_file():
        raise UserError(f"{name} is an adapter of another model (PEFT): merge them (merge_and_unload) and save that")


def _check_kind(config: Any, name: str) -> None:
    """Refuse what is no encoder of text."""
    import torch
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSIFIERS
    from transformers import AutoModelForSequenceClassification
    from transformers.models.auto import modeling_auto

    kind = config.model_type
    causal = set(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    why = None
    if (
        getattr(config, "is_encoder_decoder", False)
        or kind in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    ):
        why = f"an encoder-decoder model ({kind})"
    elif kind in causal - {"xlnet"}:  # which reads in both directions
        why = f"a decoder ({kind})"
    elif type(config) not in CLASSIFIERS:
        why = f"of the architecture {kind}, which transformers has no text classifier of"
    if why:
        raise UserError(f"{name} is {why}, which is not supported: choose an encoder, such as BERT, RoBERTa or DeBERTa")
    with loading(f"{name} has a configuration that makes no model"), torch.device("meta"):
        AutoModelForSequenceClassification.from_config(copy.deepcopy(config), trust_remote_code=False)


def _check_tokenizer(folder: Path, name: str, config: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that transformers has made up, one of another model, and one without padding."""
    known = sorted(tokenizer.vocab_files_names.values())
    if not any((folder / file).is_file() for file in known):
        raise UserError(
            f"{name} has no tokenizer: found {folders.contents(folder)}, and none of {', '.join(known)}; save it "
            "there too, with tokenizer.save_pretrained"
        )
    rows = getattr(config, "vocab_size", None)
    if rows and len(tokenizer) < rows / 2:
        raise UserError(
            f"the tokenizer of {name} knows {len(tokenizer)} tokens and its embedding {rows}: it is empty or of "
            "another model; save the right one there, with tokenizer.save_pretrained"
        )
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"the tokenizer of {name} has no padding token, without which texts make no batch: choose an encoder, such "
            "as BERT, RoBERTa or DeBERTa, or add pad_token to its tokenizer_config.json"
        )


def _fetch(model: str, revision: str | None) -> str:
    """Download a hub model into the cache; returns its commit."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        names = [sibling.rfilename for sibling in HfApi().model_info(model, revision=revision).siblings or []]
        weights = next((name for name in WEIGHTS if name in names), None)
        if weights is None:
            raise UserError(f"the model {model} has no weights this can read; allowed: {' or '.join(WEIGHTS)}")
        # By the name that the config gives, not by its commit: the cache then knows that name without the network too.
        return Path(snapshot_download(model, revision=revision, allow_patterns=[*SMALL_FILES, weights])).name
    except GatedRepoError:
        raise UserError(f"the model {model} is gated: accept its terms on the hub and set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise UserError(
            f"the model {model} has no revision {shown(revision)} on the hub: give one of its commits"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(f"no model {shown(model)} on the hub: check the id, and HF_TOKEN if it is private") from None
    except (OSError, HTTPError) as failure:
        folder = _cached(model, revision)  # what an earlier run or a copied cache left
        if folder is None:
            raise UserError(
                f"the model {model} cannot be fetched ({reason(failure)}) and is not in the local cache: run the rule "
                f"download_model where {constants.ENDPOINT} can be reached, or copy the cache from there and set "
                "HF_HOME"
            ) from None
        return folder.name


def _cached(model: str, revision: str | None) -> Path | None:
    """The folder of a hub model in the local cache; None if it is not there or not whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:  # without the patterns, files that were never wanted would count as missing
        found = snapshot_download(model, revision=revision, allow_patterns=list(SMALL_FILES), local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return Path(found) if any((Path(found) / name).is_file() for name in WEIGHTS) else None


def _max_positions(config: Any) -> int | None:
    """The longest input in tokens; None where there is no limit, which XLNet and others write as -1 or 0."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions - (config.pad_token_id or 0) - 1 if config.model_type in ROBERTA_LIKE else positions


def _scratch(scratch: dict[str, Any], train: Path) -> tuple[Any, Any]:
    """A configuration and a tokenizer, made for the texts of ``train``, for an architecture with random weights."""
    from transformers import AutoConfig

    tokenizer = _tokenizer(scratch["architecture"], scratch["vocab_size"], train)
    settings = {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": scratch["layers"],
        "hidden_size": scratch["hidden_size"],
        "num_attention_heads": scratch["heads"],
        "intermediate_size": scratch["intermediate_size"],
        "max_position_embeddings": scratch["max_positions"],
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    if scratch["architecture"] == "electra":
        settings["embedding_size"] = scratch["hidden_size"]
    if scratch["architecture"] == "roberta":
        offset = tokenizer.pad_token_id + 1
        settings |= {"type_vocab_size": 1, "max_position_embeddings": scratch["max_positions"] + offset}
    if scratch["architecture"] == "deberta-v2":  # as DeBERTaV3: disentangled attention, no absolute positions
        settings |= {
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 32,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "pooler_hidden_size": scratch["hidden_size"],
        }
    if scratch["architecture"] == "modernbert":
        settings |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    return AutoConfig.for_model(scratch["architecture"], **settings), tokenizer


def _tokenizer(architecture: str, size: int, train: Path) -> Any:
    """A fast tokenizer for the texts of ``train``: byte-level BPE, Unigram or WordPiece, as the architecture has it.

    Only BPE is trained. The vocabulary of the others is every character and the most frequent words: their algorithms
    in ``tokenizers`` walk through hash tables, whose order is another one each time.
    """
    from transformers import BertTokenizer, DebertaV2Tokenizer, RobertaTokenizer

    if architecture == "roberta":
        return RobertaTokenizer().train_new_from_iterator(_texts(train), vocab_size=size)
    kind = DebertaV2Tokenizer if architecture == "deberta-v2" else BertTokenizer
    rules = kind().backend_tokenizer
    counts: Counter[str] = Counter()
    for text in itertools.chain.from_iterable(_texts(train)):
        counts.update(word for word, _ in rules.pre_tokenizer.pre_tokenize_str(rules.normalizer.normalize_str(text)))
    pieces = sorted(set("".join(counts)))
    if kind is BertTokenizer:
        pieces += [f"##{character}" for character in pieces]
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    vocabulary = [*SPECIAL, *pieces, *words[: max(size - len(SPECIAL) - len(pieces), 0)]]
    if kind is BertTokenizer:
        return BertTokenizer(vocab={piece: index for index, piece in enumerate(vocabulary)})
    # Log-probabilities under which a word is split only where it is not in the vocabulary.
    return DebertaV2Tokenizer(vocab=[(piece, 0.0 if piece in SPECIAL else -1.0) for piece in vocabulary])


def _texts(train: Path) -> Iterator[list[str]]:
    table = artifacts.read_table(train)
    for name in ("text_a", "text_b"):
        if name in table.column_names:
            for batch in table[name].chunks:
                yield batch.to_pylist()
