"""Tokenizers that cut texts as their files say, where transformers would have rules of its own.

Transformers 5 makes those of some classes anew from the vocabulary, with the rules of the class. A decoder's file that
has each digit alone would lose that if its settings name the class of GPT-2, and DeBERTa's lose the table by which
sentencepiece exchanges characters: full-width digits, ligatures, unusual spaces.
"""

import base64
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")  # the table holds one


def as_the_files_say(folder: Path, config: Any, loaded: Any) -> Any:
    """A model's tokenizer with the rules of its own files.

    Args:
        folder: of the model.
        config: its configuration.
        loaded: the fast tokenizer that transformers loads.

    Returns:
        the general tokenizer with these rules, unless ``loaded`` has them, or a saved one would lose them again.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    own = _own(folder, loaded)
    if _rules(own) == _rules(loaded.backend_tokenizer):
        return loaded
    with tempfile.TemporaryDirectory() as saved:
        config.save_pretrained(saved)
        loaded.save_pretrained(saved)
        own.save(f"{saved}/tokenizer.json")
        general = PreTrainedTokenizerFast.from_pretrained(saved)
        general.save_pretrained(saved)
        again = AutoTokenizer.from_pretrained(saved, trust_remote_code=False)
    if _rules(again.backend_tokenizer) == _rules(own):
        return general
    log.warning("%s: texts are cut as %s does, not as its files say", folder, type(loaded).__name__)
    return loaded


def _own(folder: Path, loaded: Any) -> Any:
    """What the files of a model make of it: ``tokenizer.json``, or else sentencepiece's."""
    from tokenizers import Tokenizer

    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    names = [name for name in loaded.vocab_files_names.values() if name.endswith(".model")]
    table = next((_table(folder / name) for name in names if (folder / name).is_file()), b"")
    described = json.loads(loaded.backend_tokenizer.to_str())
    steps = _steps(described["normalizer"])
    if not table or "Precompiled" in {step["type"] for step in steps}:
        return loaded.backend_tokenizer
    first = [step for step in steps if step["type"] == "Lowercase"]
    others = [step for step in steps if step["type"] not in ("Lowercase", *_NORMAL_FORMS)]
    exchange = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    described["normalizer"] = {"type": "Sequence", "normalizers": [*first, exchange, *others]}
    return Tokenizer.from_str(json.dumps(described))


def _table(file: Path) -> bytes:
    """The table by which sentencepiece exchanges characters; empty where it exchanges none, or the file is no such."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(file.read_bytes())
    except DecodeError:  # tiktoken's files are called tokenizer.model too
        return b""
    found: bytes = model.normalizer_spec.precompiled_charsmap
    return found


def _steps(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    if normalizer is None:
        return []
    steps: list[dict[str, Any]] = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    return steps


def _rules(backend: Any) -> list[Any]:
    described = json.loads(backend.to_str())
    return [described.get(part) for part in ("normalizer", "pre_tokenizer")]
