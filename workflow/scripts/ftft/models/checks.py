"""Checks of a model from elsewhere: it reads text, has no code of its own, and its tokenizer fits."""

import copy
import json
from pathlib import Path
from typing import Any

from ftft.core.errors import UserError, reason, shown
from ftft.models import folders
from ftft.models.decoders import is_decoder
from ftft.models.folders import WEIGHTS, loading

DEEPEST = 1000  # layers


def check_no_code(folder: Path, name: str) -> None:
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


def check_kind(config: Any, name: str) -> None:
    """Refuse what makes no classifier of text."""
    import torch
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSIFIERS
    from transformers import AutoModelForSequenceClassification
    from transformers.models.auto import modeling_auto

    kind = config.model_type
    why = None
    if (
        getattr(config, "is_encoder_decoder", False)
        or kind in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    ):
        why = f"an encoder-decoder model ({kind})"
    elif config.get_text_config() is not config:
        why = f"a model of more than text ({kind})"
    elif type(config) not in CLASSIFIERS:
        why = f"of the architecture {kind}, which transformers has no text classifier of"
    if why:
        raise UserError(
            f"{name} is {why}, which is not supported: choose an encoder, such as BERT, RoBERTa or DeBERTa, or a "
            "decoder, such as Llama, Qwen or GPT-2"
        )
    depth = getattr(config, "num_hidden_layers", 0)
    if isinstance(depth, int) and depth > DEEPEST:  # else they would be made until memory is full
        raise UserError(f"{name} has {shown(depth)} layers by its config.json; allowed: {DEEPEST} at most")
    with loading(f"{name} has a configuration that makes no model"), torch.device("meta"):
        AutoModelForSequenceClassification.from_config(copy.deepcopy(config), trust_remote_code=False)


def check_tokenizer(folder: Path, name: str, config: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that transformers has made up, one of another model, and one without padding."""
    known = sorted({"tokenizer.json", *tokenizer.vocab_files_names.values()})
    if not any((folder / file).is_file() for file in known):
        raise UserError(
            f"{name} has no tokenizer: found {folders.contents(folder)}, and none of {', '.join(known)}; save it "
            "there too, with tokenizer.save_pretrained"
        )
    if empty := [key for key in ("unk_token", "pad_token") if getattr(tokenizer, key) == ""]:
        raise UserError(
            f"the tokenizer of {name} has an empty text as its {empty[0]}: correct it in tokenizer_config.json, or "
            "take it out"
        )
    rows = getattr(config, "vocab_size", None)
    if rows and len(tokenizer) < rows / 2:
        raise UserError(
            f"the tokenizer of {name} knows {len(tokenizer)} tokens and its embedding {rows}: it is empty or of "
            "another model; save the right one there, with tokenizer.save_pretrained"
        )
    if tokenizer.pad_token_id is None and not is_decoder(config):
        raise UserError(
            f"the tokenizer of {name} has no padding token, without which texts make no batch: choose an encoder, such "
            "as BERT, RoBERTa or DeBERTa, or add pad_token to its tokenizer_config.json"
        )
