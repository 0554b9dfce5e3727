"""The configuration of labelled text: where it comes from, and which columns and labels it has."""

import codecs
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ftft.core.errors import listed, named, shown
from ftft.data.schemas import LABEL_LIMIT
from ftft.experiment.config.sections import (
    CHECKSUM,
    Label,
    Labels,
    Metric,
    Name,
    Section,
    Strings,
    check_differ,
    check_read,
    exactly_one,
    normal,
)

CLASSES = LABEL_LIMIT - 1
_PART = "two numbers [start, end] with 0 <= start < end <= 1 are expected"
# The keys that not every kind of source reads, and the kinds that do.
_READERS = {
    "name": ("hub",),
    "split": ("hub", "builtin"),
    "revision": ("hub",),
    "seed": ("builtin",),
    **dict.fromkeys(("format", "encoding", "columns", "delimiter", "quoting", "escape", "sha256"), ("path",)),
}


class Source(Section):
    """Where one split of labelled text comes from: exactly one of ``hub``, ``path`` and ``builtin``."""

    hub: str | None = Field(None, description="dataset id on the Hugging Face hub")
    name: str | None = Field(None, description="hub: the dataset's configuration, where it has several")
    split: str | None = Field(None, description="hub: name of the split; builtin: train, dev, or an OOD set")
    revision: str | None = Field(None, description="hub: commit; without one, the first download's is recorded")
    path: str | None = Field(
        None, description="file, glob or URL; relative ones start at data_dir, `~` is the home folder"
    )
    format: Literal["csv", "tsv", "jsonl", "json", "parquet"] | None = Field(
        None, description="path: without it, told from the file name"
    )
    encoding: str = Field("utf-8", description="path: of csv, tsv, jsonl and json, such as `cp1252` or `utf-16`")
    columns: Strings | None = Field(None, description="csv and tsv without a header line: the columns' names, in order")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description='csv and tsv: what separates fields, such as ";"'
    )
    quoting: bool | None = Field(
        None,
        description="csv and tsv: whether quote marks enclose fields; without it, yes in csv and no in tsv, unless all "
        "of a tsv file's header is enclosed",
    )
    escape: str | None = Field(
        None, min_length=1, max_length=1, description='csv and tsv: what escapes a quote mark, such as "\\"'
    )
    sha256: str | None = Field(None, pattern=f"^{CHECKSUM}$", description="path: the file's checksum, hexadecimal")
    builtin: Literal["planted"] | None = Field(None, description="a generated data set")
    rows: int | None = Field(None, ge=1, description="builtin: number of examples; path and hub: use the first so many")
    seed: int = Field(0, ge=0, description="builtin: seed of the generator")
    part: tuple[float, float] | None = Field(
        None,
        description="use only the rows whose uid hashes into this part of [0, 1): [0, 0.9] and [0.9, 1] split a file",
    )
    text: Strings | None = Field(None, min_length=1, max_length=2, description="overrides data.text")
    label: str | None = Field(None, description="overrides data.label")
    uid: str | None = Field(None, description="overrides data.uid")
    relabel: dict[Label, Label | None] = Field(
        default_factory=dict, description="label in the source: label here; null drops the row"
    )

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except (LookupError, ValueError):
            raise ValueError(
                f"Python knows no text encoding {shown(encoding)}; such as utf-8, utf-16, cp1252"
            ) from None
        return codecs.lookup(encoding).name.removesuffix("-sig")

    @field_validator("part", mode="before")
    @classmethod
    def _check_part(cls, part: Any) -> Any:
        if part is not None and not (isinstance(part, list | tuple) and len(part) == 2):
            raise ValueError(f"{_PART}; found {shown(part)}")
        return part

    @field_validator("relabel", mode="before")
    @classmethod
    def _check_relabel(cls, relabel: Any) -> Any:
        """Two spellings of one label are refused: only the last would count."""
        if isinstance(relabel, dict):
            check_differ("labels of the source", [normal(str(raw)) for raw in relabel])
        return relabel

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_read(self, exactly_one(self, "hub", "path", "builtin"), _READERS)
        if self.hub is not None and self.split is None:
            raise ValueError("a hub source needs split, such as train")
        for key in ("delimiter", "escape"):
            if getattr(self, key) in ('"', "\n", "\r"):
                raise ValueError(f"{key} is one sign, and no quote mark or line break; found {getattr(self, key)!r}")
        if self.delimiter is not None and self.delimiter == self.escape:
            raise ValueError(f"delimiter and escape must differ; found {self.delimiter!r} for both")
        if self.part is not None and not 0 <= self.part[0] < self.part[1] <= 1:
            raise ValueError(f"part: {_PART}; found {list(self.part)}")
        check_differ("columns", self.columns)
        return self


class OodSet(Section):
    """One out-of-distribution set; its dev split may steer early stopping, its test split is read only at the end."""

    dev: Source | None = Field(None, description="needed by stop: {monitor: ood_dev}")
    test: Source = Field(description="read only after training")


class Data(Section):
    """The labelled text of the task."""

    text: Strings = Field(min_length=1, max_length=2, description="one column, or two for sentence pairs")
    label: str = Field("label", description="the label's column")
    uid: str | None = Field(None, description="column of unique ids; without one, uids are made from row numbers")
    labels: Labels = Field(min_length=2, max_length=CLASSES, description="label names; their order is the class index")
    metric: Metric = Field("accuracy", description="the score that is reported, and that stop rules watch")
    group: str | None = Field(None, description="a column that no model sees; the page counts it in each region")
    train: Source = Field(description="train set")
    dev: Source = Field(description="in-distribution dev set")
    test: Source | None = Field(
        None, description="in-distribution test set; without one, the results are on the dev set"
    )
    ood: dict[Name, OodSet] = Field(default_factory=dict, description="out-of-distribution sets")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_differ("labels", self.labels)
        labels = set(self.labels)
        for name, source in _sources(self):
            text, label = source.text or self.text, source.label or self.label
            check_differ(f"the columns of text (of {name})", text)
            if len(text) != len(self.train.text or self.text):
                raise ValueError(
                    f"every set has as many columns of text as the train set; found {named(text)} (of {name}) and "
                    f"{named(self.train.text or self.text)} (of train): name one in both, or a pair in both"
                )
            if label in text:
                raise ValueError(f"{shown(label)} is a column of text and that of the label (of {name}); name another")
            for raw, new in source.relabel.items():
                if new is not None and new not in labels:
                    raise ValueError(
                        f"{name}.relabel maps {shown(raw)} to {shown(new)}, which is not in labels: "
                        f"{listed(self.labels)}"
                    )
        return self


def _sources(data: Data) -> list[tuple[str, Source]]:
    sources = [("train", data.train), ("dev", data.dev), ("test", data.test)]
    for name, ood in data.ood.items():
        sources += [(f"ood.{name}.dev", ood.dev), (f"ood.{name}.test", ood.test)]
    return [(name, source) for name, source in sources if source is not None]
