"""Tokenise a dataset once for all models that share the tokenizer."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from ftft.core import artifacts
from ftft.core.errors import UserError, reason
from ftft.core.files import sha256
from ftft.data.schemas import text_columns, tokens_schema

log = logging.getLogger(__name__)

CHUNK = 20_000
# Shares of the tokens of a data set that say nothing, [UNK]: with so many, it is refused or mentioned.
USELESS, DOUBTFUL = 0.9, 0.1


class Tokenize(TypedDict):
    """What rule ``tokenize`` is told."""

    max_length: int


def tokenize(data: Path, tokenizer: Path, source: Path, output: Path, max_length: int) -> None:
    """Write the tokens of every example of ``data``, in its row order.

    Args:
        data: a data artifact; a row with ``text_b`` is encoded as a pair, the longer text truncated first.
        tokenizer: ``tokenizer.json`` of the model's fast tokenizer.
        source: ``source.json`` beside it, which says whether the model uses token types and how many positions it has.
        output: the tokens artifact.
        max_length: number of tokens kept, special ones included.

    Raises:
        UserError: an input is damaged, the model has fewer positions than ``max_length``, or the tokenizer does not fit
            the model, knows none of the words, or would run the texts of a pair together.
    """
    identity = artifacts.read_json(source, "max_positions", "token_types", "pad_id", "unk_id", "vocab_size", "files")
    allowed = identity["max_positions"]
    if allowed is not None and max_length > allowed:
        raise UserError(
            f"max_length is {max_length}, but the model {source.parent.name} has only {allowed} positions: "
            f"set training.max_length, or the model's own max_length, to {allowed} or less"
        )
    encoder = _read(tokenizer, identity["files"]["tokenizer.json"])
    encoder.no_padding()
    token_types = identity["token_types"]
    texts = text_columns(artifacts.column_names(data)) or ["text_a"]
    pairs = "text_b" in texts
    separator = {key: identity[key] for key in identity if key == "pair_separator" and pairs}
    if None in separator.values():
        raise UserError(
            f"the tokenizer of the model {source.parent.name} puts nothing between the texts of a pair: set "
            "pair_separator of the model to a text that it knows"
        )
    special = encoder.num_special_tokens_to_add(is_pair=pairs)
    if max_length <= special:  # the library would then cut nothing
        raise UserError(
            f"max_length is {max_length}, but the tokenizer of the model {source.parent.name} adds {special} tokens of "
            f"its own: set training.max_length, or the model's own max_length, to more than {special}"
        )
    own = (encoder.encode("", "") if pairs else encoder.encode("")).ids
    encoder.enable_truncation(max_length, strategy="longest_first")
    table = artifacts.read_table(data, ["uid", "label", *texts])
    tokens = _encode(table, encoder, identity["pad_id"], token_types)
    _check(tokens, identity, own, f"the tokenizer of the model {source.parent.name}", data)
    artifacts.write_table(
        tokens,
        output,
        tokens_schema(token_types=token_types),
        artifacts.read_metadata(data) | {"max_length": str(max_length), "rows": str(table.num_rows)} | separator,
    )


def _read(tokenizer: Path, checksum: str) -> Tokenizer:
    artifacts.read_json(tokenizer)
    if sha256(tokenizer) != checksum:
        raise artifacts.damaged(tokenizer, "it is not what was written")
    try:
        return Tokenizer.from_file(str(tokenizer))
    except Exception as failure:  # the library raises nothing more exact
        raise artifacts.damaged(tokenizer, reason(failure)) from None


def _check(tokens: pa.Table, identity: dict[str, Any], own: list[int], name: str, data: Path) -> None:
    """Refuse tokens that the model has no embedding of, and those that say nothing.

    Those of a row that are the tokenizer's ``own`` say nothing either way.
    """
    ids = np.concatenate([chunk.flatten().to_numpy() for chunk in tokens["input_ids"].chunks])
    rows = identity["vocab_size"]
    if rows is not None and ids.max(initial=0) >= rows:
        raise UserError(
            f"{name} gives the token {ids.max()}, but its embedding has only {rows} rows, from 0: call "
            "resize_token_embeddings(len(tokenizer)) on the model and save it again, or give the tokenizer that it "
            "was trained with"
        )
    if identity["unk_id"] is None:
        return
    words = max(len(ids) - len(own) * tokens.num_rows, 1)
    unknown = ((ids == identity["unk_id"]).sum() - own.count(identity["unk_id"]) * tokens.num_rows) / words
    if unknown > USELESS:
        raise UserError(
            f"{name} knows next to nothing of {data}: {unknown:.0%} of the tokens are unknown to it; give the "
            "tokenizer that the model was trained with, or a model for this language"
        )
    if unknown > DOUBTFUL:
        log.warning("%s knows %.0f %% of the tokens of %s not", name, 100 * unknown, data)


def _encode(table: pa.Table, encoder: Tokenizer, empty: int, token_types: bool) -> pa.Table:
    """Tokens of all rows; where there are none, as many a decoder's tokenizer gives for an empty text, ``empty``."""
    columns = [table[name] for name in text_columns(table.column_names)]
    chunks = []
    for start in range(0, table.num_rows, CHUNK):
        texts = [column.slice(start, CHUNK).to_pylist() for column in columns]
        encodings = encoder.encode_batch_fast(list(zip(*texts, strict=True)) if len(texts) == 2 else texts[0])
        lengths = np.fromiter((max(len(encoding), 1) for encoding in encodings), np.int32, len(encodings))
        chunk = {
            "uid": table["uid"].slice(start, CHUNK),
            "label": table["label"].slice(start, CHUNK),
            "input_ids": _ragged((encoding.ids or [empty] for encoding in encodings), lengths),
            "length": pa.array(lengths),
        }
        if token_types:
            chunk["token_type_ids"] = _ragged((encoding.type_ids or [0] for encoding in encodings), lengths)
        chunks.append(pa.table(chunk))
    return pa.concat_tables(chunks)


def _ragged(lists: Iterator[list[int]], lengths: np.ndarray) -> pa.ListArray:
    values = np.fromiter(itertools.chain.from_iterable(lists), np.int32, int(lengths.sum()))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
