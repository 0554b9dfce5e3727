"""A generated three-way sentence-pair task whose difficulty is planted.

Each premise tells of an act of one person toward another, such as *The tall nurse praised the teacher*. Whether a
hypothesis follows (entailment), may or may not hold (neutral) or is ruled out (contradiction) is decided by these rules
alone:

1. The act happened, or it did not (*refused to praise*), or the premise leaves that open (*hoped to praise*). The
   quality of the person acting holds in any case.
2. An act that happened was kind or unkind, as its verb says.
3. Nothing follows about habits and possessions.

A **shortcut** solves most pairs without understanding them: a hypothesis with a negation is a contradiction, one that
mostly repeats words of the premise is entailed, and any other is neutral. An *easy* pair agrees with it. A
*counter_example* does not; its label follows from the same rules. A *wrong_label* is an easy pair whose
label is not its true one.
"""

import random
import re
import zlib

import pyarrow as pa

from ftft.core.errors import UserError

LABELS = ("entailment", "neutral", "contradiction")

# Shares of the kinds that are not easy. At two thirds of counter-examples the shortcut is right for one pair in three,
# which is chance.
SPLITS = {
    "train": {"counter_example": 0.15, "wrong_label": 0.05},
    "dev": {"counter_example": 0.15},
    "test": {"counter_example": 0.15},
    "no_shortcut_dev": {"counter_example": 2 / 3},
    "no_shortcut_test": {"counter_example": 2 / 3},
    "reversed_dev": {"counter_example": 1.0},
    "reversed_test": {"counter_example": 1.0},
}
TRAIN_ROWS, OTHER_ROWS = 2000, 600
MAX_ROWS = 100_000


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return [phrase.strip() for phrase in text.split(",")]


_PEOPLE = _words(
    """actor baker banker barber butcher carpenter clerk coach dancer dentist doctor driver engineer farmer gardener
    guard hunter janitor judge lawyer librarian mayor miner nurse painter pilot plumber poet priest sailor singer
    soldier student surgeon tailor teacher tourist waiter weaver writer"""
)
_ADJECTIVES = _words(
    """anxious brave busy calm clever dishonest famous fat foolish generous greedy happy healthy honest idle loud messy
    modest nervous old patient poor proud quiet rich rude sad short sick slim strong tall tidy timid weak young"""
)

# All verbs are regular: base form plus -d or -ed.
_KIND_ACTS = _words("admire comfort encourage forgive help honour praise protect rescue reward thank welcome")
_UNKIND_ACTS = _words("abandon annoy attack betray cheat curse despise insult mock punish reject threaten")
_KIND = _words("friendly gentle kind nice")
_UNKIND = _words("cruel hostile mean nasty")
_HABITS = _phrases(
    """bake fresh bread before breakfast, borrow money from a cousin, collect stamps from distant islands,
    dislike boiled carrots and peas, dream of flying to mars, earn more than last year, enjoy jazz music on sundays,
    expect a letter from abroad, inherit a heavy gold watch, live alone with two cats, miss several trains last week,
    need new glasses for reading, order fish with brown rice, own a small wooden boat, paint seascapes at weekends,
    play chess with old friends, prefer tea with fresh lemon, recall many songs from childhood,
    repair clocks as a hobby, roast a chicken for dinner, save money for a piano, smoke cheap cigars after lunch,
    snore loudly almost every night, start a diary last year, train for a long race, use a large blue umbrella,
    visit relatives twice a month, walk home alone after dark, wash dishes before every meal,
    watch old films with friends"""
)

# What a premise can say about its act, and the words for it before the verb's base form.
_HAPPENED, _DENIED, _OPEN = "happened", "denied", "open"
_MODALS = {
    _DENIED: _phrases(
        """declined to, did not, failed to, forgot to, neglected to, never managed to, refused to, was afraid to,
        was unable to"""
    ),
    _OPEN: _phrases(
        """agreed to, decided to, hoped to, intended to, meant to, offered to, planned to, promised to, wanted to,
        was about to, was asked to, was willing to"""
    ),
}

_PREMISE = "The {adjective} {agent} {acted} the {patient}."
_ACT = ["The {agent} {did} the {patient}.", "The {adjective} {agent} {did} the {patient}."]
_NO_ACT = ["The {agent} did not {do} the {patient}.", "The {agent} never {did} the {patient}."]
_QUALITY = ["The {agent} was {adjective}."]
_NO_QUALITY = ["The {agent} was not {adjective}."]
_NEWS = ["The {agent} {habit}.", "The {patient} {habit}.", "The {stranger} {habit}."]
_DONE = ["It really took place.", "It was actually done.", "In the end this came about."]
_UNDONE = ["It was left undone.", "It came to nothing.", "Nothing of that kind took place."]
_MANNER = ["That was a {manner} thing to do."]
_WRONG_MANNER = ["That was a {wrong_manner} thing to do."]

# True label, the shortcut's label, what the premise says about its act, hypotheses to choose from.
_PATTERNS = [
    ("entailment", "entailment", [_HAPPENED], _ACT),
    ("entailment", "entailment", [_HAPPENED, _DENIED, _OPEN], _QUALITY),
    ("neutral", "neutral", [_HAPPENED, _DENIED, _OPEN], _NEWS),
    ("neutral", "neutral", [_OPEN], _DONE + _UNDONE),
    ("contradiction", "contradiction", [_HAPPENED], _NO_ACT),
    ("contradiction", "contradiction", [_HAPPENED, _DENIED, _OPEN], _NO_QUALITY),
    ("entailment", "neutral", [_HAPPENED], _DONE),
    ("entailment", "neutral", [_HAPPENED], _MANNER),
    ("entailment", "neutral", [_DENIED], _UNDONE),
    ("entailment", "contradiction", [_DENIED], _NO_ACT),
    ("neutral", "entailment", [_OPEN], _ACT),
    ("neutral", "contradiction", [_OPEN], _NO_ACT),
    ("contradiction", "entailment", [_DENIED], _ACT),
    ("contradiction", "neutral", [_HAPPENED], _UNDONE),
    ("contradiction", "neutral", [_HAPPENED], _WRONG_MANNER),
    ("contradiction", "neutral", [_DENIED], _DONE),
]


def shortcut(text_a: str, text_b: str) -> str:
    """The label that negation and word overlap suggest, whatever the sentences mean."""
    words_a, words_b = (re.findall(r"\w+", text.lower()) for text in (text_a, text_b))
    if {"not", "never"} & set(words_b):
        return "contradiction"
    shared = sum(word in words_a for word in words_b)
    return "entailment" if 2 * shared >= len(words_b) else "neutral"


def generate(split: str, rows: int | None = None, seed: int = 0) -> pa.Table:
    """Generate one split; the same arguments give the same table, and no premise occurs in two splits.

    Args:
        split: ``train`` (80 % easy, 15 % counter-examples, 5 % wrong labels); ``dev`` and ``test`` (85 % easy, 15 %
            counter-examples); ``no_shortcut_dev`` and ``no_shortcut_test`` (the shortcut is right by chance only);
            ``reversed_dev`` and ``reversed_test`` (counter-examples only: the shortcut is always wrong).
        rows: number of pairs, by default 2000 in ``train`` and 600 elsewhere.
        seed: another one gives other pairs.

    Returns:
        string columns ``uid``, ``text_a`` (premise), ``text_b`` (hypothesis), ``label``, ``kind`` (``easy``,
        ``counter_example`` or ``wrong_label``) and ``true_label``. Labels are balanced within each kind.

    Raises:
        UserError: unknown split, or more rows than ``MAX_ROWS``.
    """
    if split not in SPLITS:
        raise UserError(f"builtin planted: there is no split {split!r}; allowed: {', '.join(SPLITS)}")
    if rows is None:
        rows = TRAIN_ROWS if split == "train" else OTHER_ROWS
    if not 1 <= rows <= MAX_ROWS:
        raise UserError(f"builtin planted: rows must be between 1 and {MAX_ROWS}; found {rows}")
    rng = random.Random(f"{seed} {split}")
    plan = _plan(split, rows)
    rng.shuffle(plan)
    pairs = _pairs(split, [(truth, hint) for _, truth, hint, _ in plan], rng)
    return pa.table(
        {
            "uid": [f"{split}-{row:06d}" for row in range(rows)],
            "text_a": [text_a for text_a, _ in pairs],
            "text_b": [text_b for _, text_b in pairs],
            "label": [label for *_, label in plan],
            "kind": [kind for kind, *_ in plan],
            "true_label": [truth for _, truth, *_ in plan],
        }
    )


def _plan(split: str, rows: int) -> list[tuple[str, str, str, str]]:
    """Kind, true label, the shortcut's label and the given label of each row, in equal shares within each kind."""
    differing = [(one, other) for one in LABELS for other in LABELS if one != other]
    choices = {
        "easy": [("easy", label, label, label) for label in LABELS],
        "counter_example": [("counter_example", truth, hint, truth) for truth, hint in differing],
        "wrong_label": [("wrong_label", truth, truth, label) for truth, label in differing],
    }
    counts = {kind: round(share * rows) for kind, share in SPLITS[split].items()}
    counts["easy"] = rows - sum(counts.values())
    return [choices[kind][i % len(choices[kind])] for kind, count in counts.items() for i in range(count)]


def _pairs(split: str, cells: list[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]]:
    """One premise and hypothesis for each pair of true label and shortcut's label, no premise twice."""
    names = list(SPLITS)
    patterns = {cell: [(status, texts) for *c, status, texts in _PATTERNS if tuple(c) == cell] for cell in set(cells)}
    pairs: dict[str, str] = {}
    while len(pairs) < len(cells):
        statuses, hypotheses = rng.choice(patterns[cells[len(pairs)]])
        words = _event(rng.choice(statuses), rng)
        premise = _PREMISE.format(**words)
        # A checksum, not the generator's state, gives each premise its split: so splits differ at any size and seed.
        if premise not in pairs and names[zlib.crc32(premise.encode()) % len(names)] == split:
            pairs[premise] = rng.choice(hypotheses).format(**words)
    return list(pairs.items())


def _event(status: str, rng: random.Random) -> dict[str, str]:
    """The words that fill the templates, for an act that ``happened``, was ``denied`` or is left ``open``."""
    agent, patient, stranger = rng.sample(_PEOPLE, 3)
    kind = rng.random() < 0.5
    do = rng.choice(_KIND_ACTS if kind else _UNKIND_ACTS)
    have, habit = rng.choice(_HABITS).split(maxsplit=1)
    manner, wrong_manner = (_KIND, _UNKIND) if kind else (_UNKIND, _KIND)
    return {
        "adjective": rng.choice(_ADJECTIVES),
        "agent": agent,
        "patient": patient,
        "stranger": stranger,
        "do": do,
        "did": _past(do),
        "acted": _past(do) if status == _HAPPENED else f"{rng.choice(_MODALS[status])} {do}",
        "manner": rng.choice(manner),
        "wrong_manner": rng.choice(wrong_manner),
        "habit": f"{_past(have)} {habit}",
    }


def _past(verb: str) -> str:
    return verb + ("d" if verb.endswith("e") else "ed")
