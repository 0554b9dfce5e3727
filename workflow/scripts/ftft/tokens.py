"""Tokenise a dataset once for all models that share the tokenizer."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from ftft import artifacts, schemas
from ftft.errors import UserError

CHUNK = 20_000


def tokenize(data: Path, tokenizer: Path, source: Path, output: Path, max_length: int) -> None:
    """Write the tokens of every example of ``data``, in its row order.

    Args:
        data: a data artifact; a row with ``text_b`` is encoded as a pair, the longer text truncated first.
        tokenizer: ``tokenizer.json`` of the model's fast tokenizer.
        source: ``source.json`` beside it, which says whether the model uses token types and how many positions it has.
        output: the tokens artifact.
        max_length: number of tokens kept, special ones included.

    Raises:
        UserError: the model has fewer positions than ``max_length``.
    """
    identity = json.loads(source.read_text(encoding="utf-8"))
    allowed = identity["max_positions"]
    if allowed is not None and max_length > allowed:
        raise UserError(
            f"max_length is {max_length}, but the model {source.parent.name} has only {allowed} positions: "
            f"set training.max_length, or the model's own max_length, to {allowed} or less"
        )
    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_padding()
    encoder.enable_truncation(max_length, strategy="longest_first")
    token_types = identity["token_types"]
    table = artifacts.read_table(data)
    artifacts.write_table(
        _encode(table, encoder, token_types),
        output,
        schemas.tokens_schema(token_types=token_types),
        artifacts.read_metadata(data) | {"max_length": str(max_length), "rows": str(table.num_rows)},
    )


def _encode(table: pa.Table, encoder: Tokenizer, token_types: bool) -> pa.Table:
    columns = [table[name] for name in ("text_a", "text_b") if name in table.column_names]
    chunks = []
    for start in range(0, table.num_rows, CHUNK):
        texts = [column.slice(start, CHUNK).to_pylist() for column in columns]
        encodings = encoder.encode_batch_fast(list(zip(*texts, strict=True)) if len(texts) == 2 else texts[0])
        lengths = np.fromiter((len(encoding) for encoding in encodings), np.int32, len(encodings))
        chunk = {
            "uid": table["uid"].slice(start, CHUNK),
            "label": table["label"].slice(start, CHUNK),
            "input_ids": _ragged((encoding.ids for encoding in encodings), lengths),
            "length": pa.array(lengths),
        }
        if token_types:
            chunk["token_type_ids"] = _ragged((encoding.type_ids for encoding in encodings), lengths)
        chunks.append(pa.table(chunk))
    return pa.concat_tables(chunks)


def _ragged(lists: Iterator[list[int]], lengths: np.ndarray) -> pa.ListArray:
    values = np.fromiter(itertools.chain.from_iterable(lists), np.int32, int(lengths.sum()))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
