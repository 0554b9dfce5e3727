"""What holds for all inputs, tried on generated ones."""

import json
import math
from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftft.compute.batching import bucket, epoch_batches, fixed_rows, micro_batches, padded
from ftft.compute.cost import CostMeter, Stage
from ftft.dynamics import selection
from ftft.dynamics.criteria import CRITERIA
from ftft.experiment import config
from ftft.training.schedule import Schedule
from ftft.training.state import State
from ftft.training.stopping import EarlyStopping, RankingStop

# The same examples in every run: a test that fails now and then tells nothing.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("same")

lengths = st.lists(st.integers(1, 512), min_size=1, max_size=80).map(np.array)
finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(lengths, st.integers(1, 40), st.integers(0, 4), st.integers(0, 2**31 - 1), st.integers(0, 5))
def test_batches_of_an_epoch_are_its_rows_once_each(lengths, batch_size, window, seed, epoch):
    rows = np.arange(len(lengths)) * 2
    batches = epoch_batches(rows, lengths, batch_size=batch_size, window=window, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(batches)) == rows.tolist()
    assert len(batches) == math.ceil(len(rows) / batch_size)
    assert sum(len(batch) < batch_size for batch in batches) <= 1


@given(lengths, st.none() | st.integers(1, 20), st.none() | st.integers(1, 4_096))
def test_passes_partition_a_batch_and_keep_to_their_bounds(lengths, size, tokens):
    batch = np.random.default_rng(len(lengths)).permutation(len(lengths))
    passes = micro_batches(batch, lengths, size=size, tokens=tokens)
    assert sorted(np.concatenate(passes)) == list(range(len(lengths)))
    longest = [int(lengths[rows].max()) for rows in passes]
    assert longest == sorted(longest, reverse=True)
    assert longest == [int(lengths[rows[0]]) for rows in passes]
    assert size is None or max(map(len, passes)) <= size
    assert tokens is None or all(
        len(rows) == 1 or len(rows) * most <= tokens for rows, most in zip(passes, longest, strict=True)
    )


@given(st.integers(1, 5_000), st.integers(1, 64))
def test_padding_is_the_next_multiple_and_a_bucket_is_as_long(length, multiple):
    assert padded(length, multiple) % multiple == 0
    assert 0 <= padded(length, multiple) - length < multiple
    assert bucket(length) >= length
    assert bucket(bucket(length)) == bucket(length)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20), st.integers(0, 20))
def test_filling_a_pass_adds_rows_behind_and_changes_none(rows, more):
    filled = fixed_rows(np.array(rows), len(rows) + more)
    assert filled[: len(rows)].tolist() == rows
    assert set(filled[len(rows) :]) <= {rows[-1]}


@st.composite
def scored(draw):
    """Scores with ties, labels and unique uids."""
    size = draw(st.integers(2, 60))
    scores = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5]) | finite, min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return [f"u{row:03d}" for row in range(size)], scores, labels


@given(
    scored(),
    st.sampled_from(sorted(set(CRITERIA) - {"random"})),
    st.fractions(Fraction(1, 10), 1).map(float),
    st.sampled_from([None, *selection.BALANCES]),
    st.randoms(use_true_random=False),
)
def test_a_selection_does_not_depend_on_the_order_of_rows(examples, by, fraction, balance, random):
    uids, scores, labels = examples
    subset = selection.select(uids, scores, by, fraction, labels=labels, balance=balance)
    order = list(range(len(uids)))
    random.shuffle(order)
    shuffled = ([values[row] for row in order] for values in (uids, scores, labels))
    other_uids, other_scores, other_labels = shuffled
    other = selection.select(other_uids, other_scores, by, fraction, labels=other_labels, balance=balance)
    assert subset.equals(other)
    assert subset.num_rows == selection.subset_size(fraction, len(uids))
    assert len(set(subset["uid"].to_pylist())) == subset.num_rows


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.fractions(Fraction(1, 20), 1).map(float))
def test_class_sizes_add_up_and_no_class_gives_more_than_it_has(counts, fraction):
    size = selection.subset_size(fraction, sum(counts))
    for balance in selection.BALANCES:
        sizes = selection.class_sizes(counts, size, balance)
        assert sum(sizes) == size
        assert all(0 <= each <= count for each, count in zip(sizes, counts, strict=True))


early = st.builds(
    EarlyStopping,
    monitor=st.sampled_from(["dev", "ood_dev"]),
    patience=st.integers(1, 5),
    min_delta=st.floats(0, 1),
    every=st.none() | st.integers(1, 50),
    chance=st.floats(0, 1),
    best=st.floats(0, 1),
    best_step=st.integers(0, 500),
    waited=st.integers(0, 5),
    stopped=st.none() | st.integers(1, 500),
)
states = st.builds(
    State,
    schedule=st.builds(
        Schedule,
        kind=st.sampled_from(["linear", "cosine", "constant", "plateau"]),
        peak=st.floats(1e-6, 1),
        warmup=st.integers(0, 50),
        steps=st.integers(1, 500),
        watch=early,
    ),
    stops=st.dictionaries(st.sampled_from(["a", "b"]), early),
    reference_stop=st.none()
    | st.builds(
        RankingStop,
        name=st.just("settled"),
        monitor=st.just("ranking"),
        by=st.just("ambiguous"),
        fraction=st.floats(0.1, 1),
        bound=st.floats(0, 1),
        agreement=st.floats(0, 1),
    ),
    step=st.integers(0, 500),
    due=st.lists(st.sampled_from(["dev", "other"]), unique=True),
    loss=st.floats(0, 10),
    best=st.just({}),
    curve=st.just([{"step": 1, "value": 0.5}]),
    costs=st.just([]),
    meter=st.builds(CostMeter, st.fixed_dictionaries({"train": st.builds(Stage, steps=st.integers(0, 9))})),
)


@given(states)
def test_a_state_that_was_saved_and_read_is_the_same(tmp_path_factory, state):
    file = tmp_path_factory.mktemp("state") / "state.pt"
    torch.save(state.plain(), file)
    assert State.restore(torch.load(file, weights_only=True)) == state


@given(
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4, unique=True),
    st.floats(0.01, 1).filter(lambda share: share != 1),
    st.sampled_from(["fp32", "bf16"]),
    st.integers(1, 64),
)
def test_a_configuration_that_was_written_and_read_is_the_same(seeds, fraction, precision, batch_size):
    raw = {
        "task": "t",
        "data": {"text": "text", "labels": ["a", "b"], "train": {"path": "x.csv"}, "dev": {"path": "y.csv"}},
        "models": {"m": {"scratch": {"architecture": "bert"}}},
        "mains": ["m"],
        "references": ["m"],
        "methods": {"erm": {}, "ftft": {"select": {"by": "ambiguous", "fraction": fraction}}},
        "seeds": seeds,
        "training": {"epochs": 1, "learning_rate": 1e-3, "precision": precision, "batch_size": batch_size},
    }
    loaded = config.load(raw)
    written = json.dumps(config.plain(loaded.model_dump(exclude_unset=True)))
    assert config.plain(config.load(json.loads(written))) == config.plain(loaded)
