"""Where a model comes from: fetch it once, record exactly what it was, find it again without the network.

``prepare`` leaves four small files per source: ``source.json`` (identity and checksum of the weights), ``config.json``,
and the fast tokenizer in ``tokenizer.json`` and ``tokenizer_config.json``. Weights stay where they are: in the hub's
cache, in the package or in the folder.
"""

import json
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ftft.core import artifacts
from ftft.core.errors import UserError, named, reason, shown
from ftft.core.files import sha256
from ftft.models import decoders, folders, pairs, tokenizing
from ftft.models.checks import check_kind, check_no_code, check_tokenizer
from ftft.models.folders import INDEX, WEIGHTS, loading, title
from ftft.models.scratch import ROBERTA_LIKE, from_scratch

FILES = ("source.json", "config.json", "tokenizer.json", "tokenizer_config.json")
# Files in the folder of a hub model beside its weights: configuration, vocabulary, tokenizer.
SMALL_FILES = ("*.json", "*.txt", "*.model")


def prepare(source: dict[str, Any], output: Path, train: Path | None = None) -> None:
    """Fetch a model and write the files of ``FILES`` into the folder ``output``.

    Args:
        source: the source keys of a model: ``hub`` and ``revision``, ``package`` and ``path``, ``path``, or
            ``scratch``; ``sha256`` of the weights file, or None; and ``pair_separator``, which may be left out.
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
        config, tokenizer = from_scratch(source["scratch"], train)
    else:
        folder = locate(identity)
        with folders.reading(title(identity)):
            identity["sha256"] = _checked_weights(folder, title(identity), source.get("sha256"))
            config, tokenizer = _load(folder, title(identity))
    name = "a scratch model" if source.get("scratch") else title(identity)
    if decoders.is_decoder(config):
        decoders.prepare(config, tokenizer, name)
    tokenizer, between = pairs.joined(tokenizer, source.get("pair_separator"), name)
    identity |= between
    # The tokenizer offers token types to every model; only an embedding of more than one type makes use of them.
    identity["token_types"] = (
        "token_type_ids" in tokenizer.model_input_names and (getattr(config, "type_vocab_size", 0) or 0) > 1
    )
    if getattr(config, "summary_type", None) == "last":  # the position that its classifier reads
        tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"
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
        checksum = folders.weights_checksum(found)
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

    paths = folders.weights_of(folder)
    path = paths[0]
    for each in paths:
        folders.check_beginning(each)
    if path.suffix == ".safetensors":
        with ExitStack() as opened:
            tensors: dict[str, Any] = {}
            for path in paths:
                try:
                    file = opened.enter_context(safe_open(path, framework="pt"))
                    tensors |= {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                except SafetensorError as failure:
                    raise UserError(f"{path} is damaged: {reason(failure)}; fetch or save the model again") from None
            yield tensors
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
    paths = folders.weights_of(folder)
    for each in folders.files_of(folder):
        folders.check_beginning(each)
    checksum = folders.weights_checksum(folder)
    if expected and expected.lower() != checksum:
        what = paths[0].name if len(paths) == 1 else f"the {len(paths)} weights files"
        raise UserError(
            f"checksum of {what} of {name} is {checksum}, expected {expected}: fetch the model again, or correct "
            "sha256 in the config"
        )
    with open_weights(folder) as tensors:
        if not tensors:
            raise UserError(f"{paths[0]} holds no weights: fetch or save the model again")
    return checksum


def _load(folder: Path, name: str) -> tuple[Any, Any]:
    """The configuration and the tokenizer of a model that can be fine-tuned here."""
    from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

    check_no_code(folder, name)
    with loading(f"{name} is not a model that transformers can load"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    check_kind(config, name)
    with loading(f"the tokenizer of {name} is none that transformers can load"):
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{name} has no fast tokenizer: choose a model with a tokenizer.json")
    check_tokenizer(folder, name, config, tokenizer)
    with loading(f"the tokenizer of {name} is none that transformers can load"):
        return config, tokenizing.as_the_files_say(folder, config, tokenizer)


def _fetch(model: str, revision: str | None) -> str:
    """Download a hub model into the cache; returns its commit."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
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
        # It has the name that the config gives, not its commit: the cache then knows that name without the network too.
        fetch = partial(snapshot_download, model, revision=revision)
        found = Path(fetch(allow_patterns=[*SMALL_FILES, weights]))
        if weights == INDEX:
            parts = [part.name for part in folders.parts_of(found / INDEX)]
            if missing := sorted(set(parts) - set(names)):
                raise UserError(f"the model {model}: its {INDEX} names {named(missing)}, which is not on the hub")
            fetch(allow_patterns=parts)
        return found.name
    except GatedRepoError:
        raise UserError(f"the model {model} is gated: accept its terms on the hub and set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise UserError(
            f"the model {model} has no revision {shown(revision)} on the hub: give one of its commits"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(f"no model {shown(model)} on the hub: check the id, and HF_TOKEN if it is private") from None
    except (OSError, HTTPError) as failure:
        folder = _cached(model, revision)  # an earlier run or a copied cache may have left it
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
    try:
        folders.weights_of(Path(found))
    except UserError:
        return None
    return Path(found)


def _max_positions(config: Any) -> int | None:
    """The longest input in tokens; None where there is no limit, which XLNet and others write as -1 or 0."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions - (config.pad_token_id or 0) - 1 if config.model_type in ROBERTA_LIKE else positions
