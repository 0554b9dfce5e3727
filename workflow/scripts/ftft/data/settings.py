"""What rule ``download`` is told: where a split of labelled text comes from, and how it is read."""

from typing import Literal, TypedDict


class Source(TypedDict):
    """The fields of ``config.Source``."""

    hub: str | None
    name: str | None
    split: str | None
    revision: str | None
    path: str | None
    format: Literal["csv", "tsv", "jsonl", "json", "parquet"] | None
    encoding: str
    columns: list[str] | None
    delimiter: str | None
    quoting: bool | None
    escape: str | None
    sha256: str | None
    builtin: Literal["planted"] | None
    rows: int | None
    seed: int
    part: list[float] | None
    text: list[str] | None
    label: str | None
    uid: str | None
    relabel: dict[str, str | None]


class Download(TypedDict):
    """One source, and what all sources of a task have in common."""

    source: Source
    text: list[str]  # one or two columns
    label: str  # a column
    uid: str | None  # a column; None: uids are made from row numbers
    labels: list[str]  # in the order of their class index
    role: str  # train, dev or test
