"""The generated task is balanced, reproducible, and as hard as it says."""

from collections import Counter

import pytest

from ftft.core.errors import UserError
from ftft.data import planted


def rows_of(split, rows=None, seed=0):
    return planted.generate(split, rows, seed).to_pylist()


def test_columns_and_unique_ids():
    table = planted.generate("train", 100)
    assert table.column_names == ["uid", "text_a", "text_b", "label", "kind", "true_label"]
    assert len(set(table["uid"].to_pylist())) == 100
    assert set(table["label"].to_pylist()) == {"entailment", "neutral", "contradiction"}


@pytest.mark.parametrize(
    ("split", "kinds"),
    [
        ("train", {"easy": 960, "counter_example": 180, "wrong_label": 60}),
        ("dev", {"easy": 1020, "counter_example": 180}),
        ("test", {"easy": 1020, "counter_example": 180}),
        ("no_shortcut_dev", {"easy": 400, "counter_example": 800}),
        ("no_shortcut_test", {"easy": 400, "counter_example": 800}),
        ("reversed_dev", {"counter_example": 1200}),
        ("reversed_test", {"counter_example": 1200}),
    ],
)
def test_shares_of_kinds(split, kinds):
    assert Counter(row["kind"] for row in rows_of(split, 1200)) == kinds


@pytest.mark.parametrize("split", planted.SPLITS)
def test_labels_are_balanced_in_each_kind(split):
    rows = rows_of(split, 1200)
    for kind in {row["kind"] for row in rows}:
        counts = Counter(row["label"] for row in rows if row["kind"] == kind)
        assert len(counts) == 3
        assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize(
    ("text_a", "text_b", "label"),
    [
        ("The tall nurse praised the teacher.", "The nurse praised the teacher.", "entailment"),
        ("The tall nurse praised the teacher.", "The nurse was not tall.", "contradiction"),
        ("The tall nurse praised the teacher.", "The nurse never praised the teacher.", "contradiction"),
        ("The tall nurse praised the teacher.", "It came to nothing.", "neutral"),
        ("The tall nurse praised the teacher.", "A b the nurse.", "entailment"),  # half of the words are shared
    ],
)
def test_shortcut(text_a, text_b, label):
    assert planted.shortcut(text_a, text_b) == label


@pytest.mark.parametrize("split", planted.SPLITS)
def test_shortcut_is_right_on_easy_pairs_and_wrong_on_counter_examples(split):
    for row in rows_of(split, 1200):
        follows = planted.shortcut(row["text_a"], row["text_b"]) == row["true_label"]
        assert follows == (row["kind"] != "counter_example"), row


def test_shortcut_is_no_better_than_chance_without_it_and_always_wrong_when_reversed():
    def accuracy(split):
        rows = rows_of(split, 1200)
        return sum(planted.shortcut(row["text_a"], row["text_b"]) == row["label"] for row in rows) / len(rows)

    assert accuracy("train") == 0.8
    assert accuracy("dev") == 0.85
    assert accuracy("no_shortcut_test") == pytest.approx(1 / 3)
    assert accuracy("reversed_test") == 0


def test_only_wrong_labels_differ_from_the_true_ones():
    for split in planted.SPLITS:
        for row in rows_of(split, 300):
            assert (row["label"] != row["true_label"]) == (row["kind"] == "wrong_label")


def meaning(premise: str, hypothesis: str) -> str:
    """The label by the rules of the task, written down a second time and by other means."""
    denied = ["declined to", "did not", "failed to", "forgot to", "neglected to", "never managed", "refused to"]
    denied += ["was afraid to", "was unable to"]
    is_open = ["agreed to", "decided to", "hoped to", "intended to", "meant to", "offered to", "planned to"]
    is_open += ["promised to", "wanted to", "was about to", "was asked to", "was willing to"]
    status = -1 if any(m in premise for m in denied) else 0 if any(m in premise for m in is_open) else 1
    unkind_stems = ["abandon", "annoy", "attack", "betray", "cheat", "curse", "despise", "insult", "mock", "punish"]
    is_kind = not any(stem in premise for stem in [*unkind_stems, "reject", "threaten"])
    adjective, agent = premise.split()[1:3]
    words = hypothesis.rstrip(".").split()
    negation = -1 if {"not", "never"} & set(words) else 1
    if hypothesis.startswith("That was a "):
        holds = 1 if (words[3] in ("friendly", "gentle", "kind", "nice")) == is_kind else -1
    elif hypothesis in ("It really took place.", "It was actually done.", "In the end this came about."):
        holds = status
    elif hypothesis in ("It was left undone.", "It came to nothing.", "Nothing of that kind took place."):
        holds = -status
    elif words[1] == agent and words[-1] == adjective and words[2] == "was":
        holds = negation
    elif words[-1] == premise.rstrip(".").split()[-1] and words[-2] == "the" and agent in words:
        holds = status * negation
    else:
        holds = 0
    return {1: "entailment", 0: "neutral", -1: "contradiction"}[holds]


@pytest.mark.parametrize("split", planted.SPLITS)
def test_labels_follow_from_the_rules(split):
    for row in rows_of(split, 600):
        assert meaning(row["text_a"], row["text_b"]) == row["true_label"], row


def test_same_arguments_same_table():
    assert planted.generate("dev", 50, 3).equals(planted.generate("dev", 50, 3))
    assert not planted.generate("dev", 50, 3).equals(planted.generate("dev", 50, 4))


def test_no_premise_is_in_two_splits_or_twice_in_one():
    premises = [row["text_a"] for split in planted.SPLITS for seed in (0, 1) for row in rows_of(split, 1000, seed)]
    by_split = [set(premises[start : start + 2000]) for start in range(0, len(premises), 2000)]
    assert sum(map(len, by_split)) == len(set.union(*by_split))
    assert len({row["text_a"] for row in rows_of("train", 3000)}) == 3000


def test_sentences_are_short():
    for row in rows_of("train", 500):
        assert len(row["text_a"].split()) <= 10
        assert len(row["text_b"].split()) <= 8


def test_default_sizes():
    assert planted.generate("train").num_rows == 2000
    assert planted.generate("test").num_rows == 600


def test_unknown_split():
    with pytest.raises(UserError, match=r"no split 'validation'; allowed: train, dev, test, no_shortcut_dev"):
        planted.generate("validation")


@pytest.mark.parametrize("rows", [0, planted.MAX_ROWS + 1])
def test_rows_out_of_range(rows):
    with pytest.raises(UserError, match=f"rows must be between 1 and {planted.MAX_ROWS}; found {rows}"):
        planted.generate("train", rows)
