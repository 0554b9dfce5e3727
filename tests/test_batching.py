"""Batches hold every row once, in an order of seed and epoch alone, and are padded right."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from ftft.compute.batching import TokenizedDataset, bucket, epoch_batches, fixed_rows, micro_batches
from ftft.core.artifacts import write_table
from ftft.data.schemas import tokens_schema

LENGTHS = np.random.default_rng(3).integers(1, 200, 1003)
ROWS = np.random.default_rng(4).permutation(5000)[:1003]


def batches(window: int = 5, seed: int = 0, epoch: int = 0, batch_size: int = 32) -> list[np.ndarray]:
    return epoch_batches(ROWS, LENGTHS, batch_size=batch_size, window=window, seed=seed, epoch=epoch)


def lists(found: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in found]


@pytest.mark.parametrize("window", [0, 1, 5, 1000])
def test_every_row_once_and_one_smaller_batch(window):
    found = batches(window)
    assert sorted(np.concatenate(found)) == sorted(ROWS)
    assert sorted(map(len, found)) == [1003 - 31 * 32] + [32] * 31


def test_smaller_batch_comes_last_in_random_order_and_anywhere_in_windows():
    assert len(batches(0)[-1]) == 11
    assert len({[len(batch) for batch in batches(5, epoch=epoch)].index(11) for epoch in range(8)}) > 1


@pytest.mark.parametrize("window", [0, 5])
def test_order_depends_on_seed_and_epoch_alone(window):
    np.random.default_rng().random()
    assert lists(batches(window, 1, 2)) == lists(batches(window, 1, 2))
    orders = {str(lists(batches(window, seed, epoch))) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_window_0_is_a_plain_permutation():
    order = np.random.default_rng([7, 2]).permutation(1003)
    assert np.concatenate(batches(0, seed=7, epoch=2)).tolist() == ROWS[order].tolist()


def test_lengths_are_similar_within_a_batch_but_batches_are_not_sorted():
    length_of = dict(zip(ROWS, LENGTHS, strict=True))
    found = [np.array([length_of[row] for row in batch]) for batch in batches(1000)]
    # One window over all: the batches cut the sorted lengths into pieces that at most touch.
    spans = sorted((lengths.min(), lengths.max()) for lengths in found)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    longest = [lengths.max() for lengths in found]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_windows_group_only_what_lies_in_them():
    order = np.random.default_rng([0, 0]).permutation(1003)
    window_of = {row: position // (5 * 32) for position, row in enumerate(ROWS[order])}
    assert all(len({window_of[row] for row in batch}) == 1 for batch in batches(5))


def test_batch_larger_than_the_data():
    assert lists(batches(5, batch_size=5000)) != []
    assert [len(batch) for batch in batches(5, batch_size=5000)] == [1003]


def test_micro_batches_split_a_batch_by_length():
    lengths = np.array([0, 9, 3, 7, 1, 3, 8, 2])
    batch = np.array([1, 2, 3, 4, 5, 6, 7])
    longest_first = [1, 6, 3, 2, 5, 7, 4]
    assert lists(micro_batches(batch, lengths)) == [longest_first]
    assert lists(micro_batches(batch, lengths, size=3)) == [[1, 6, 3], [2, 5, 7], [4]]
    assert lists(micro_batches(batch, lengths, size=1)) == [[row] for row in longest_first]
    assert lists(micro_batches(batch, lengths, tokens=9)) == [[1], [6], [3], [2, 5, 7], [4]]
    assert lists(micro_batches(batch, lengths, size=2, tokens=9)) == [[1], [6], [3], [2, 5], [7, 4]]
    assert lists(micro_batches(batch, lengths, tokens=1)) == [[row] for row in longest_first]


@pytest.mark.parametrize(("length", "rows"), [(1, 2048), (100, 13), (192, 5), (300, 2), (3000, 1)])
def test_micro_batches_of_long_texts_have_fewer_tokens(length, rows):
    """A text of length L counts as L + L²/192 tokens: 2,048 are 2,048 / 152 texts of 100, 2,048 / 384 of 192."""
    lengths = np.full(3000, length)
    found = micro_batches(np.arange(3000), lengths, tokens=2_048)
    assert len(found[0]) == rows
    assert sorted(np.concatenate(found)) == list(range(3000))


def dataset(tmp_path, texts: list[list[int]], types: list[list[int]] | None = None) -> TokenizedDataset:
    columns = {
        "uid": [f"u{row}" for row in range(len(texts))],
        "label": pa.array([row % 3 for row in range(len(texts))], pa.int16()),
        "input_ids": texts,
        "length": pa.array([len(text) for text in texts], pa.int32()),
    }
    if types is not None:
        columns["token_type_ids"] = types
    # Several row groups: the flat arrays must not depend on how the file is cut.
    table = pa.table(columns)
    write_table(
        iter([table.slice(0, 3), table.slice(3)]), tmp_path / "t.parquet", tokens_schema(token_types=types is not None)
    )
    return TokenizedDataset.read(tmp_path / "t.parquet")


def padded(texts: list[list[int]], rows: list[int], pad: int, positions: int | None) -> list[list[int]]:
    width = positions or max([len(texts[row]) for row in rows] + [1])
    return [texts[row] + [pad] * (width - len(texts[row])) for row in rows]


def test_recorded_passes_come_in_few_lengths_none_half_as_long_again():
    found = {length: bucket(length) for length in range(1, 513)}
    assert sorted(set(found.values())) == [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    assert all(length <= wanted for length, wanted in found.items())
    assert all(wanted < 1.5 * length for length, wanted in found.items() if length > 16)


def test_rows_that_fill_a_pass_come_behind_those_that_count():
    assert fixed_rows(np.array([7, 3, 5]), 5).tolist() == [7, 3, 5, 5, 5]
    assert fixed_rows(np.array([7, 3]), 2).tolist() == [7, 3]


@pytest.mark.parametrize("token_types", [False, True])
@pytest.mark.parametrize(("pad_id", "positions"), [(0, None), (1, 24), (99, 17)])
def test_collate_equals_padding_by_hand(tmp_path, token_types, pad_id, positions):
    generator = np.random.default_rng(0)
    texts = [generator.integers(100, 200, length).tolist() for length in (5, 0, 17, 1, 9, 3, 8, 16)]
    types = [generator.integers(0, 2, len(text)).tolist() for text in texts] if token_types else None
    data = dataset(tmp_path, texts, types)
    assert len(data) == 8
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    for rows in ([2], [7, 0, 1], [4, 4], [1], [6, 5, 3], list(range(8))):
        batch = data.collate(np.array(rows), pad_id=pad_id, positions=positions)
        expected = {
            "input_ids": padded(texts, rows, pad_id, positions),
            "attention_mask": padded([[1] * len(text) for text in texts], rows, 0, positions),
        }
        if types is not None:
            expected["token_type_ids"] = padded(types, rows, 0, positions)
        assert {name: values.tolist() for name, values in batch.items()} == expected
        assert {values.dtype for values in batch.values()} == {np.dtype(np.int64)}
