"""Decoders as classifiers: which models they are, and how their texts become tokens and are padded.

Each token of a decoder sees only those before it, so its classifier reads the last one.
"""

from typing import Any

from ftft.core.errors import UserError

# Padding tokens that published vocabularies have, also where the tokenizer does not name one.
RESERVED = ("<|finetune_right_pad_id|>", "<|padding|>", "<pad>", "[PAD]", "<|pad|>", "<|PAD_TOKEN|>")


def is_decoder(config: Any) -> bool:
    """Whether a model's tokens see only those before them."""
    return decodes(config.model_type)


def decodes(kind: str) -> bool:
    """Whether models of an architecture do; ``kind`` is its name in transformers."""
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() - {"xlnet"}  # it reads in both directions
    return kind in causal - modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.keys()


def reads_last(config: Any) -> bool:
    """Whether an architecture's own head reads the last token; others read the first, or the mean over all."""
    return getattr(config, "summary_type", None) == "last" or is_decoder(config)


def prepare(config: Any, tokenizer: Any, name: str) -> None:
    """Give a decoder's configuration and tokenizer one padding token, on the right.

    It is the tokenizer's own, a reserved one, or the end of a text; but never one that the tokenizer itself puts at the
    end, which a pipeline would take for padding.

    Raises:
        UserError: there is no such token.
    """
    known, ends = tokenizer.get_vocab(), tokenizer("a")["input_ids"][-1:]
    candidates = (
        tokenizer.pad_token, *RESERVED, tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token,
    )  # fmt: skip
    fit = (each for each in candidates if each in known and known[each] < config.vocab_size and known[each] not in ends)
    token = next(fit, None)
    if token is None:
        raise UserError(
            f"the tokenizer of {name} has no token that can pad, without which texts make no batch: add pad_token to "
            "its tokenizer_config.json"
        )
    tokenizer.pad_token, tokenizer.padding_side = token, "right"
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    # What is saved of a tokenizer is what it was made with.
    tokenizer.init_kwargs |= {name: getattr(tokenizer, name) for name in ("padding_side", "model_input_names")}
    config.pad_token_id, config.use_cache = tokenizer.pad_token_id, False
