"""Models with random weights, and tokenizers trained on the train set's texts."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftft.core import artifacts
from ftft.models.decoders import decodes

# Special tokens of the tokenizers that are made for scratch models.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Architectures that count positions from pad_token_id + 1.
ROBERTA_LIKE = (
    "camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl",
)  # fmt: skip


def from_scratch(scratch: dict[str, Any], train: Path) -> tuple[Any, Any]:
    """A configuration and a tokenizer, made for the texts of ``train``, for an architecture with random weights."""
    from transformers import AutoConfig

    architecture = scratch["architecture"]
    tokenizer = _tokenizer(architecture, scratch["vocab_size"], train)
    if decodes(architecture):
        return _decoder(scratch, len(tokenizer), tokenizer.eos_token_id), tokenizer
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
    if architecture == "electra":
        settings["embedding_size"] = scratch["hidden_size"]
    if architecture in ("roberta", "xlm-roberta"):
        offset = tokenizer.pad_token_id + 1
        settings |= {"type_vocab_size": 1, "max_position_embeddings": scratch["max_positions"] + offset}
    if architecture == "deberta-v2":  # as DeBERTaV3: disentangled attention, no absolute positions
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
    if architecture == "eurobert":
        settings |= {"mask_token_id": tokenizer.mask_token_id}
    if architecture == "modernbert":
        settings |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    return AutoConfig.for_model(architecture, **settings), tokenizer


def _decoder(scratch: dict[str, Any], tokens: int, end: int) -> Any:
    """A configuration whose sizes have the names that a decoder of this kind has for them."""
    from transformers import AutoConfig

    width, heads = scratch["hidden_size"], scratch["heads"]
    if scratch["architecture"] == "gpt2":
        names = {"n_layer": "layers", "n_embd": "hidden_size", "n_head": "heads"}
        names |= {"n_inner": "intermediate_size", "n_positions": "max_positions"}
        settings = {name: scratch[key] for name, key in names.items()}
    else:
        settings = {
            "num_hidden_layers": scratch["layers"],
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": scratch["intermediate_size"],
            "max_position_embeddings": scratch["max_positions"],
        }
    if scratch["architecture"] in ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"):
        settings |= {"num_key_value_heads": heads, "head_dim": width // heads}
    if scratch["architecture"] in ("gemma2", "gemma3_text"):  # scores are divided by its root
        settings["query_pre_attn_scalar"] = width // heads
    if scratch["architecture"] == "modernbert-decoder":
        settings |= {"cls_token_id": end, "sep_token_id": end}
    ends = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end}
    return AutoConfig.for_model(scratch["architecture"], vocab_size=tokens, **settings, **ends)


def _tokenizer(architecture: str, size: int, train: Path) -> Any:
    """A fast tokenizer for the texts of ``train``: byte-level BPE, Unigram or WordPiece, as the architecture has it.

    Only BPE is trained. The vocabulary of the others is every character and the most frequent words: their algorithms
    in ``tokenizers`` walk through hash tables, whose order is another one each time.
    """
    from transformers import BertTokenizer, DebertaV2Tokenizer, GPT2Tokenizer, RobertaTokenizer, XLMRobertaTokenizer

    if decodes(architecture):
        return GPT2Tokenizer().train_new_from_iterator(_texts(train), vocab_size=size)
    if architecture in ("roberta", "eurobert"):
        return RobertaTokenizer().train_new_from_iterator(_texts(train), vocab_size=size)
    kinds = {"deberta-v2": DebertaV2Tokenizer, "xlm-roberta": XLMRobertaTokenizer}
    kind = kinds.get(architecture, BertTokenizer)
    rules = kind().backend_tokenizer
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>") if kind is XLMRobertaTokenizer else SPECIAL
    counts: Counter[str] = Counter()
    for text in itertools.chain.from_iterable(_texts(train)):
        normal = rules.normalizer.normalize_str(text) if rules.normalizer is not None else text
        counts.update(word for word, _ in rules.pre_tokenizer.pre_tokenize_str(normal))
    pieces = sorted(set("".join(counts)))
    if kind is BertTokenizer:
        pieces += [f"##{character}" for character in pieces]
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    vocabulary = [*special, *pieces, *words[: max(size - len(special) - len(pieces), 0)]]
    if kind is BertTokenizer:
        return BertTokenizer(vocab={piece: index for index, piece in enumerate(vocabulary)})
    # With these log-probabilities a word is split only where it is not in the vocabulary.
    return kind(vocab=[(piece, 0.0 if piece in special else -1.0) for piece in vocabulary])


def _texts(train: Path) -> Iterator[list[str]]:
    table = artifacts.read_table(train)
    for name in ("text_a", "text_b"):
        if name in table.column_names:
            for batch in table[name].chunks:
                yield batch.to_pylist()
