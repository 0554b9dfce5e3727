"""One configuration file is one experiment: its keys, types, defaults and the errors a wrong one gets.

``load`` turns the parsed YAML into a validated, frozen ``Config``. ``docs/configuration.md`` and ``config/schema.json``
are generated from the descriptions below.
"""

import codecs
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from humanfriendly import InvalidTimespan, parse_timespan
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from ftft.core.errors import UserError, listed, named, shown
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.dynamics.criteria import CRITERIA, RANDOM
from ftft.training.steps import budgeted

SELF = "self"
ERM = "erm"

NAME = 100  # characters; several names may stand in one part of a path
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
CLASSES = 2**15 - 1  # class indices have 16 bits
LARGEST = 2**31 - 1  # of whole numbers, seeds among them: what every library takes
LONGEST = 14 * 24 * 60  # minutes

Metric = Literal["accuracy", "macro_f1"]
Architecture = Literal["bert", "roberta", "electra", "deberta-v2", "modernbert"]


def is_name(text: str) -> bool:
    """Whether a text is fit to be part of a path."""
    return len(text) <= NAME and re.fullmatch(NAME_PATTERN, text) is not None


def _check_name(name: str) -> str:
    if len(name) > NAME:
        raise ValueError(f"the name {shown(name)} has {len(name)} characters; at most {NAME} are allowed")
    if not is_name(name):
        raise ValueError(
            f"the name {shown(name)} becomes part of a path: begin with a letter or digit, and use letters, digits, "
            "'_', '-', '+' and '.'"
        )
    return name


def _check_criterion(name: str) -> str:
    if name not in CRITERIA:
        raise ValueError(f"{shown(name)} is no criterion; {_allowed(name, CRITERIA)}")
    return name


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def _as_text(value: Any) -> Any:
    """YAML reads an unquoted 0 as a number; whatever else it does not read as text is refused."""
    return str(value) if type(value) is int else value


def _as_section(value: Any) -> Any:
    return {} if value is None else value


Name = Annotated[str, AfterValidator(_check_name)]
Criterion = Annotated[str, AfterValidator(_check_criterion)]
Text = Annotated[str, BeforeValidator(_as_text)]
Strings = Annotated[list[Text], BeforeValidator(_as_list)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """What pydantic would take for a number: true for 1, and the text 0-3 for -3."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = set(_flatten(annotation))
        for each in value if isinstance(value, list) else [value]:
            if {int, float} & kinds and bool not in kinds and isinstance(each, bool):
                raise ValueError(f"YAML reads this as the truth value {str(each).lower()}; a number is expected")
            if int not in kinds or str in kinds:
                continue
            if isinstance(each, str) and not re.fullmatch(r"[-+]?[0-9]+", each.strip()):
                several = ", or several as in [0, 1, 2, 3]" if get_origin(annotation) is list else ""
                raise ValueError(f"a whole number is expected{several}; found {shown(each)}")
            if isinstance(each, int | float) and abs(each) > LARGEST:
                raise ValueError(f"a whole number is at most {LARGEST}; found {shown(each)}")
        return value


def _check_differ(key: str, values: list[str] | None) -> None:
    if values is not None and len(set(values)) != len(values):
        raise ValueError(f"{key} must differ from each other; found {listed(values)}")


def _exactly_one(section: BaseModel, *keys: str) -> None:
    found = [key for key in keys if getattr(section, key) is not None]
    if len(found) != 1:
        raise ValueError(f"give exactly one of {', '.join(keys)}; found {', '.join(found) or 'none'}")


class Source(_Section):
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
    sha256: str | None = Field(None, description="path: the file's checksum, hexadecimal")
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
    relabel: dict[Text, Text | None] = Field(
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        _exactly_one(self, "hub", "path", "builtin")
        if self.hub is not None and self.split is None:
            raise ValueError("a hub source needs split, such as train")
        for key in ("delimiter", "escape"):
            if getattr(self, key) in ('"', "\n", "\r"):
                raise ValueError(f"{key} is one sign, and no quote mark or line break; found {getattr(self, key)!r}")
        if self.delimiter is not None and self.delimiter == self.escape:
            raise ValueError(f"delimiter and escape must differ; found {self.delimiter!r} for both")
        if self.part is not None and not 0 <= self.part[0] < self.part[1] <= 1:
            raise ValueError(f"part must be [start, end] with 0 <= start < end <= 1; found {list(self.part)}")
        _check_differ("columns", self.columns)
        return self


class OodSet(_Section):
    """One out-of-distribution set; its dev split may steer early stopping, its test split is read only at the end."""

    dev: Source | None = Field(None, description="needed by stop: {monitor: ood_dev}")
    test: Source = Field(description="read only after training")


class Data(_Section):
    """The labelled text of the task."""

    text: Strings = Field(min_length=1, max_length=2, description="one column, or two for sentence pairs")
    label: str = Field("label", description="the label's column")
    uid: str | None = Field(None, description="column of unique ids; without one, uids are made from row numbers")
    labels: Strings = Field(min_length=2, max_length=CLASSES, description="label names; their order is the class index")
    metric: Metric = Field("accuracy", description="the score that is reported, and that stop rules watch")
    group: str | None = Field(None, description="a column that no model sees; the report counts it in each region")
    train: Source = Field(description="train set")
    dev: Source = Field(description="in-distribution dev set")
    test: Source | None = Field(
        None, description="in-distribution test set; without one, the results are on the dev set"
    )
    ood: dict[Name, OodSet] = Field(default_factory=dict, description="out-of-distribution sets")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_differ("labels", self.labels)
        labels = set(self.labels)
        for name, source in _sources(self):
            text, label = source.text or self.text, source.label or self.label
            _check_differ(f"the columns of text (of {name})", text)
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


class Training(_Section):
    """Settings that change results. A model may override each of them."""

    batch_size: int = Field(32, ge=1, description="examples per optimizer step, over all processes")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="examples per forward pass at most; gradients accumulate over the batch. Without it, what suits "
        "the device: the whole batch, or on CPU 2,048 tokens, fewer of long texts",
    )
    steps: int | None = Field(None, ge=1, description="optimizer steps; give this or epochs")
    epochs: float | None = Field(None, gt=0, description="passes over the whole train set; subsets get as many steps")
    evaluate_every: int | None = Field(None, ge=1, description="steps between dev evaluations; without it, nine times")
    learning_rate: float = Field(2e-5, gt=0, description="at the end of the warm-up")
    schedule: Literal["linear", "cosine", "constant", "plateau"] = Field(
        "linear", description="after the warm-up; plateau halves the rate when the dev score stalls"
    )
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps in which the rate rises from 0")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd has momentum")
    weight_decay: float = Field(0.0, ge=0, description="not of biases and normalisation weights")
    adam_epsilon: float = Field(1e-6, gt=0, description="adamw only: added to the denominator")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    max_grad_norm: float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0 leaves them alone")
    dropout: float | None = Field(None, ge=0, lt=1, description="overrides the model's own rates")
    max_length: int = Field(300, ge=4, description="tokens per example; longer ones are truncated")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="bf16 falls back to fp32 where the device has none")
    gradient_checkpointing: bool = Field(False, description="less memory for more computation")
    length_window: int = Field(
        50, ge=0, description="batches are grouped by length within windows of so many; 0 leaves them random"
    )


# A head on frozen features: what differs from the defaults of Training, by measurement (docs/results.md).
HEAD: dict[str, Any] = {"epochs": 5, "learning_rate": 1e-3, "warmup": 0.0, "dropout": 0.1}


SHARES = (0.5, 0.25, 0.125)  # of a GPU


class Resources(_Section):
    """What one training job of this model asks of the machine or the cluster."""

    gpu: float = Field(
        0,
        ge=0,
        description="number of GPUs, where more than one means as many processes; or 0.5, 0.25 or 0.125 of one that "
        "two, four or eight jobs share",
    )
    mem_mb: int = Field(8000, ge=1, description="main memory in MB; at the n-th attempt, n times as much")
    runtime: str | int = Field(
        "4h",
        description="wall-clock time: minutes, or text such as 8h or '12:30:00'; at the n-th attempt, n times as much",
    )
    threads: int = Field(2, ge=1, description="CPU cores")

    @field_validator("gpu")
    @classmethod
    def _check_gpu(cls, gpu: float) -> float:
        if gpu.is_integer():
            return int(gpu)
        if gpu not in SHARES:
            raise ValueError(f"a number of GPUs is whole, or {', '.join(map(str, SHARES))} of one; found {gpu:g}")
        return gpu

    @property
    def minutes(self) -> int:
        """``runtime`` in minutes, at least one."""
        return max(_minutes(self.runtime), 1)

    @field_validator("runtime", mode="before")
    @classmethod
    def _check_runtime(cls, runtime: Any) -> str | int:
        if isinstance(runtime, bool) or not isinstance(runtime, str | int):
            raise ValueError(f"{_TIMES}; found {shown(runtime)}")
        if _minutes(runtime) < 0:
            raise ValueError(f"a time is not negative; found {shown(runtime)}")
        if _is_number(runtime) and int(runtime) > LONGEST:
            raise ValueError(
                f"{shown(runtime)} minutes are more than 14 days. YAML reads 12:00:00 without quote marks in base 60: "
                "write 12h, or put the time between quote marks"
            )
        return runtime


_TIMES = "a time is a number of minutes, or text such as 90m, 8h, 2d or '12:30:00'"


def _is_number(time: str | int) -> bool:
    return isinstance(time, int) or re.fullmatch(r"\s*[0-9]+\s*", time) is not None


def _minutes(time: str | int) -> int:
    """A time as Snakemake reads it: a number of minutes, or text such as 8h; or as SLURM writes it, with two colons."""
    if _is_number(time):
        return int(time)
    if match := re.fullmatch(r"\s*(?:(\d{1,4})-)?(\d{1,4}):(\d\d):(\d\d)\s*", str(time)):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return round(days * 24 * 60 + hours * 60 + minutes + seconds / 60)
    if ":" in str(time):
        raise ValueError(f"{shown(time)} may be hours or minutes; write it as 90m or 12h, or as '12:30:00'")
    try:
        return round(parse_timespan(str(time)) / 60)
    except (InvalidTimespan, OverflowError):
        raise ValueError(f"{_TIMES}; found {shown(time)}") from None


class Scratch(_Section):
    """An architecture with random weights and a tokenizer trained on the train set's texts."""

    architecture: Architecture = Field(description="model type, as transformers names it")
    layers: int = Field(2, ge=1, description="number of transformer layers")
    hidden_size: int = Field(32, ge=4, description="width; a multiple of heads")
    heads: int = Field(2, ge=1, description="attention heads per layer")
    intermediate_size: int = Field(64, ge=4, description="width of the feed-forward layers")
    vocab_size: int = Field(500, ge=100, description="tokens of the tokenizer, at most")
    max_positions: int = Field(512, ge=16, description="longest input in tokens")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of heads {self.heads}")
        return self


class _ModelSource(_Section):
    hub: str | None = Field(None, description="model id on the Hugging Face hub")
    revision: str | None = Field(None, description="hub: commit; without one, the first download's is recorded")
    package: str | None = Field(
        None, description="an installed Python package that carries the model; path is inside it"
    )
    path: str | None = Field(
        None,
        description="folder saved with save_pretrained, the tokenizer's too; a relative one starts in Snakemake's "
        "working folder",
    )
    scratch: Scratch | None = Field(None, description="an architecture with random weights")
    sha256: str | None = Field(None, description="checksum of the weights file, hexadecimal")
    layers: int | None = Field(None, ge=1, description="keep only the first so many layers")
    resources: Resources = Field(default_factory=Resources, description="what a training job asks for")

    @field_validator("hub")
    @classmethod
    def _check_hub(cls, hub: str | None) -> str | None:
        """A model on the hub is never looked for on this machine, and the other way round."""
        if hub is not None and os.path.isfile(os.path.join(os.path.expanduser(hub), "config.json")):
            raise ValueError(f"{shown(hub)} is a folder: use path instead of hub")
        if hub is not None and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", hub):
            raise ValueError(
                f"{shown(hub)} is no model id, which is NAME or OWNER/NAME; for a folder use path instead of hub"
            )
        return hub


def _override(field: FieldInfo) -> tuple[Any, FieldInfo]:
    annotation: Any = field.annotation
    return annotation | None, field.merge_field_infos(field, default=None, annotation=annotation | None)


_overrides: dict[str, Any] = {name: _override(field) for name, field in Training.model_fields.items()}


class ReferenceStop(_Section):
    """When the training of a reference ends: as soon as its epochs agree on the order of the examples."""

    monitor: Literal["ranking", "subset"] = Field(
        description="what is compared with the epoch before: the whole ranking by the criterion (Spearman's rank "
        "correlation), or the subset that it would select (Jaccard overlap)"
    )
    by: Criterion = Field("ambiguous", description="the criterion; as in select, but not random")
    fraction: float = Field(0.33, gt=0, le=1, description="subset: its share of the train set")
    bound: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="training ends when the agreement is at least this; subsets overlap less than rankings "
        "correlate and need a lower one",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.by == RANDOM:
            raise ValueError("by random never settles; name a criterion of the data map")
        if self.monitor == "ranking" and "fraction" in self.model_fields_set:
            raise ValueError("fraction is of monitor: subset; a whole ranking has none")
        return self


class Model(create_model("_ModelOverrides", __base__=_ModelSource, **_overrides)):  # type: ignore[misc]
    """A model: where it comes from, how deep it is, and the training settings that are its own."""

    tune: Literal["all", "head"] = Field(
        "all",
        description="what is trained: all of it, or (head) a small head on features that the frozen layers compute "
        "once, a reference for a few percent of the cost; of the section training, only max_length and precision apply "
        "to it, and a learning_rate of its own is the head's",
    )
    features: Literal["first", "mean", "both"] = Field(
        "mean",
        description="tune: head: what it reads of the last layer: the first token, the mean over tokens, or both",
    )
    hidden_size: int = Field(384, ge=0, description="tune: head: width of the head's hidden layer; 0 is a linear head")
    head: Literal["new", "probe"] = Field(
        "new",
        description="what a classifier's head starts from: random weights, or (probe) a head trained on the frozen "
        "pretrained features (LP-FT)",
    )
    stop: ReferenceStop | None = Field(
        None, description="ends its training as a reference early; without it, a reference is trained to the end"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.package is not None:
            if self.path is None:
                raise ValueError("a package source needs path, the folder inside the package")
            _exactly_one(self, "package", "hub", "scratch")
        else:
            _exactly_one(self, "hub", "path", "scratch")
        if self.scratch is not None and self.layers is not None:
            raise ValueError("layers truncates a pretrained model; give scratch its own layers")
        for key, value in (("tune", "head"), ("head", "probe")):
            if getattr(self, key) == value and self.scratch is not None:
                raise ValueError(
                    f"{key}: {value} needs pretrained features, which a model with random weights (scratch) has none "
                    f"of; leave {key} out, or name a pretrained model"
                )
        if self.tune == "head" and self.head == "probe":
            raise ValueError("head: probe starts a model that is trained as a whole; leave out tune: head, or head")
        for key in ("features", "hidden_size"):
            if self.tune != "head" and key in self.model_fields_set:
                raise ValueError(f"{key} is of a head on frozen features; add tune: head, or leave {key} out")
        return self

    def overrides(self) -> dict[str, Any]:
        """The training settings that this model sets itself."""
        return {name: value for name in Training.model_fields if (value := getattr(self, name)) is not None}


class DataMap(_Section):
    """How the data maps are computed from the training dynamics of the references."""

    burn_in: int = Field(0, ge=0, description="leave out the first so many epochs")
    max_epochs: int | None = Field(
        None, ge=2, description="use only the first so many epochs, less those that burn_in leaves out"
    )
    correction: Literal["sample", "active_bias"] | None = Field(
        None, description="of variability, for few epochs; within one data map it changes no ranking"
    )
    el2n_epoch: int | None = Field(
        None, ge=0, description="the epoch of EL2N, from 0; without it, the mean over the epochs"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_epochs is not None and self.max_epochs - self.burn_in < 2:
            raise ValueError(
                f"burn_in {self.burn_in} and max_epochs {self.max_epochs} leave fewer than the 2 epochs that a data "
                "map needs; lower burn_in or raise max_epochs"
            )
        last = float("inf") if self.max_epochs is None else self.max_epochs - 1
        if self.el2n_epoch is not None and not self.burn_in <= self.el2n_epoch <= last:
            raise ValueError(
                f"el2n_epoch {self.el2n_epoch} is an epoch that burn_in {self.burn_in} or max_epochs "
                f"{self.max_epochs} leaves out; epochs count from 0"
            )
        return self


class Select(_Section):
    """Which part of the train set a main model is trained on."""

    by: Criterion = Field(
        description="ambiguous (highest variability), hard (lowest confidence), easy (highest confidence), random, or "
        "a measure of the data map with -high or -low, such as aum-low"
    )
    fraction: float = Field(0.33, gt=0, le=1, description="share of the train set")
    easy_share: float = Field(
        0.0, ge=0, lt=1, description="share of the subset that is the most confident of the other examples instead"
    )
    balance: Literal["equal", "proportional"] | None = Field(
        None,
        description="equal: as many of each class, as far as it has them; proportional: the classes' shares are those "
        "of the train set; without it, classes do not matter",
    )
    mean_over: Literal["references", "seeds", "both"] | None = Field(
        None,
        description="one subset by the mean rank in several data maps: of all references of the method, of all seeds, "
        "or both",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.by == RANDOM and (self.easy_share or self.mean_over):
            raise ValueError("by random uses no data map, which easy_share and mean_over need; leave them out")
        if self.easy_share and CRITERIA[self.by] == CRITERIA["easy"]:
            raise ValueError(f"by {self.by} takes the easiest examples already; leave easy_share out")
        return self

    @property
    def over_references(self) -> bool:
        """Whether all references of the method select one subset together."""
        return self.mean_over in ("references", "both")

    @property
    def over_seeds(self) -> bool:
        """Whether the references of all seeds select one subset together."""
        return self.mean_over in ("seeds", "both")


class Stop(_Section):
    """Early stopping on a dev score: training ends after ``patience`` evaluations without a better one."""

    monitor: str = Field("ood_dev", description="dev, ood_dev (the mean over OOD dev splits), or ood_dev/NAME")
    patience: int = Field(2, ge=1, description="evaluations in a row without a better score")
    min_delta: float = Field(0.0, ge=0, description="a score counts as better if it exceeds the best by more than this")
    every: int | None = Field(
        None,
        ge=1,
        description="steps between looks at the watched dev sets alone, a divisor of evaluate_every; without it, "
        "evaluate_every",
    )


class Upweight(_Section):
    """Just Train Twice (Liu et al. 2021): what the reference gets wrong is trained on more often."""

    factor: int = Field(4, ge=2, description="how often such an example comes up in a pass over the train set")
    epoch: int = Field(1, ge=0, description="epoch of the reference's predictions, from 0")


class ProductOfExperts(_Section):
    """The reference as a weak expert (Sanh et al. 2021): the main model learns what it adds to the reference."""

    epoch: int = Field(1, ge=0, description="epoch of the reference's predictions, from 0")


_EMPTY = "is empty; leave it out or fill it"


class Method(_Section):
    """One way to fine-tune a main model."""

    select: Select | None = Field(None, description="train on a part of the data; without it, on all")
    upweight: Upweight | None = Field(None, description="train more often on what the reference gets wrong (JTT)")
    product_of_experts: ProductOfExperts | None = Field(
        None, description="train together with the reference's predictions, predict without them"
    )
    interpolate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="mean of the fine-tuned and the pretrained weights; this is the fine-tuned ones' share (WiSE-FT)",
    )
    budget: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the planned steps, with warm-up and decay inside it; without it, all of them. ERM and a "
        "random subset at the same budget are what a saving has to beat",
    )
    head: Literal["probe"] | None = Field(
        None, description="probe: start from a trained head, as models.NAME.head; without it, what the model says"
    )
    stop: Stop | None = Field(None, description="without it, training runs to the end")
    references: Strings | None = Field(
        None,
        min_length=1,
        description="models whose dynamics are used; self is the main model; without it, the list references",
    )

    @property
    def recipe(self) -> Select | Upweight | ProductOfExperts | None:
        """How the training data are used; None: all alike."""
        return self.select or self.upweight or self.product_of_experts

    @property
    def needs_reference(self) -> bool:
        return self.recipe is not None and (self.select is None or self.select.by != RANDOM)

    @field_validator("*", mode="before")
    @classmethod
    def _check_filled(cls, value: Any) -> Any:
        """A key without a value would make another method of it."""
        if value is None:
            raise ValueError(_EMPTY)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        keys = ("select", "upweight", "product_of_experts")
        found = [key for key in keys if getattr(self, key) is not None]
        if len(found) > 1:
            raise ValueError(f"a method has one of {', '.join(keys)} at most; found {', '.join(found)}")
        if self.references is not None and not self.needs_reference:
            raise ValueError(
                "references make no difference to a method that uses none: one without select, upweight and "
                "product_of_experts, or with select.by random"
            )
        return self


class Runtime(_Section):
    """Settings that change only speed and display; none of them ever triggers a rerun."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="auto takes CUDA, else Apple's MPS, else the CPU"
    )
    tracker: Literal["wandb", "tensorboard", "trackio"] | None = Field(
        None, description="also send the curves to this tracker (install it first)"
    )
    progress: bool = Field(True, description="a progress bar for a training that has the terminal to itself")
    compile: Literal["auto"] | bool = Field(
        "auto", description="compile the training pass; auto does so on CUDA for runs of 5,000 steps and more"
    )
    cuda_graphs: bool = Field(
        False,
        description="record the training passes of a few shapes and launch each as a whole: faster for small models "
        "on a fast GPU; texts are padded to those shapes",
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="minutes between checkpoints that a killed run resumes from"
    )


class Report(_Section):
    """How the results are shown."""

    blur_text: bool = Field(False, description="texts of examples appear only at a click, for texts that may offend")


class Config(_Section):
    """One experiment: a task and a matrix of models, methods and seeds."""

    task: Name = Field(description="its name; results go to results/{task}")
    data_dir: str = Field(
        ".", description="where relative data paths start, itself from the working folder; may change without a rerun"
    )
    data: Data = Field(description="the labelled text")
    models: dict[Name, Model] = Field(min_length=1, description="by names that become part of paths")
    references: Strings = Field(default_factory=list, description="models whose training dynamics select subsets")
    mains: Strings = Field(min_length=1, description="models to make robust")
    methods: dict[Name, Annotated[Method, BeforeValidator(_as_section)]] = Field(
        min_length=1,
        description="by names; one is erm: {}, plain training, to which costs and gains are relative",
    )
    seeds: Annotated[list[int], BeforeValidator(_as_list)] = Field(
        min_length=1,
        description=f"from 0 to {LARGEST}; the reference of seed s is paired with the main model of seed s",
    )
    datamap: DataMap = Field(default_factory=DataMap, description="how the data maps are computed")
    training: Training = Field(description="settings that change results, common to all models")
    report: Report = Field(default_factory=Report, description="how the results are shown")
    runtime: Runtime = Field(default_factory=Runtime, description="settings that change no result")

    @model_validator(mode="after")
    def _check(self) -> Self:
        def defined(key: str, name: str) -> None:
            if name not in self.models:
                raise ValueError(
                    f"{key} names the model {shown(name)}, which is not defined; {_allowed(name, self.models)}"
                )

        for key in ("references", "mains"):
            for name in getattr(self, key):
                defined(key, name)
        for key in ("references", "mains", "seeds"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key} must differ from each other; found {listed(values)}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds are from 0 to {LARGEST}; found {listed(self.seeds)}")
        for key, names in (("models", self.models), ("methods", self.methods), ("data.ood", self.data.ood)):
            self._check_case(key, list(names))
        if SELF in self.models:
            raise ValueError(f"models: the name {SELF!r} stands for the main model itself; choose another")
        if IN_DISTRIBUTION in self.data.ood:
            raise ValueError(f"data.ood: the name {IN_DISTRIBUTION!r} is taken; choose another")
        self._check_erm()
        monitors = ["dev", *(["ood_dev"] if any(o.dev for o in self.data.ood.values()) else [])]
        monitors += [f"ood_dev/{name}" for name, ood in self.data.ood.items() if ood.dev]
        for name, method in self.methods.items():
            for reference in method.references or []:
                if reference != SELF:
                    defined(f"methods.{name}.references", reference)
            if method.needs_reference and not (method.references or self.references):
                raise ValueError(f"methods.{name} needs a reference, but references is empty: name a model there")
            if method.select and method.select.over_references:
                self._check_joint(name, method.references or self.references)
            if method.stop and method.stop.monitor in ("ranking", "subset"):
                raise ValueError(
                    f"methods.{name}.stop.monitor is {shown(method.stop.monitor)}, which ends a reference and no main "
                    "model: set models.NAME.stop for that"
                )
            if method.stop and method.stop.monitor not in monitors:
                raise ValueError(
                    f"methods.{name}.stop.monitor is {shown(method.stop.monitor)}, which no data.dev or data.ood.*.dev "
                    f"gives; {_allowed(method.stop.monitor, monitors)}"
                )
        for main in self.mains:
            if self.models[main].tune == "head":
                raise ValueError(
                    f"mains names the model {main!r}, of which only a head is trained (tune: head): it can be a "
                    "reference; leave tune out to make it a main model"
                )
        for name in self.models:
            self.training_of(name)
        for name, method in self.methods.items():
            for main in self.mains:
                self._check_pretrained(f"methods.{name}", method, main)
                self._check_steps(f"methods.{name}", method, main)
        return self

    @staticmethod
    def _check_case(key: str, names: list[str]) -> None:
        """Names become folders, and not every file system tells upper from lower case."""
        found: dict[str, str] = {}
        for name in names:
            if other := found.get(name.lower()):
                raise ValueError(f"{key}: {shown(other)} and {shown(name)} differ in case alone; rename one")
            found[name.lower()] = name

    def _check_erm(self) -> None:
        """Every cost and gain is relative to plain training on all data."""
        if ERM not in self.methods:
            raise ValueError(
                "methods has no erm, plain training on all data, to which every cost and gain is relative; add erm: {}"
            )
        if extra := sorted(self.methods[ERM].model_fields_set):
            raise ValueError(
                f"methods.erm is plain training on all data, to which every cost and gain is relative; found "
                f"{named(extra)}: give this method another name, and let erm be {{}}"
            )

    def _check_pretrained(self, key: str, method: Method, main: str) -> None:
        """What is about pretrained weights has some, and a mean of weights has a pretrained classifier."""
        wanted = [name for name in ("interpolate", "head") if getattr(method, name) is not None]
        if wanted and self.models[main].scratch is not None:
            raise ValueError(
                f"{key}.{wanted[0]} is about pretrained weights, which the main model {main!r} (scratch) has none of; "
                "leave it out"
            )
        if method.interpolate is not None and not self.starts_from_probe(method, main):
            raise ValueError(
                f"{key}.interpolate takes the mean with a pretrained classifier, but {main!r} has a new head, which is "
                f"not pretrained: add head: probe to {key} or to models.{main}"
            )

    def _check_steps(self, key: str, method: Method, main: str) -> None:
        """A budget has room for the warm-up and an evaluation, and a stop rule looks at a divisor of the interval."""
        training = self.training_of(main)
        interval = training.evaluate_every
        every = method.stop.every if method.stop else None
        if every is not None:
            if interval is None:
                raise ValueError(
                    f"{key}.stop.every is {every}, but {main!r} has no training.evaluate_every that it could divide: "
                    "set that too"
                )
            if interval % every:
                allowed = named(str(number) for number in range(1, min(interval, 10**6) + 1) if interval % number == 0)
                raise ValueError(
                    f"{key}.stop.every is {every}, which does not divide the evaluate_every of {main!r}, {interval}; "
                    f"allowed: {allowed}"
                )
        if method.budget is None or method.budget == 1:
            return
        if method.budget <= training.warmup:
            raise ValueError(
                f"{key}.budget is {method.budget:g} of the steps, no more than the warm-up of {main!r}, "
                f"{training.warmup:g}; raise budget, or lower training.warmup"
            )
        if training.steps is not None and budgeted(training.steps, method.budget) < (every or interval or 1):
            raise ValueError(
                f"{key}.budget is {method.budget:g} of the {training.steps} steps of {main!r}, fewer than the "
                f"{every or interval} to the first evaluation; raise budget, or lower training.evaluate_every"
            )

    def starts_from_probe(self, method: Method, main: str) -> bool:
        """Whether a main model's head starts from a trained one."""
        return "probe" in (method.head, self.models[main].head)

    def _check_joint(self, method: str, references: list[str]) -> None:
        """References that select together: there are several, and the name of the group is no model's."""
        key = f"methods.{method}.select.mean_over"
        if len(set(references)) < 2:
            raise ValueError(f"{key} is about two or more references; found {named(references)}; name more")
        if plus := [name for name in self.models if "+" in name]:
            raise ValueError(f"{key} joins names of models by '+', but {plus[0]!r} has one: rename this model")

    def training_of(self, model: str) -> Training:
        """The training settings of a model: the common ones, or those of a head, with its own put over them."""
        overrides = self.models[model].overrides()
        common = self.training.model_dump()
        if self.models[model].tune == "head":
            common = self.head_training()
        if {"steps", "epochs"} & set(overrides):
            common |= {"steps": None, "epochs": None}
        training = Training(**(common | overrides))
        if (training.steps is None) == (training.epochs is None):
            found = "both" if training.steps else "neither"
            raise ValueError(f"training needs either steps or epochs (model {model!r}); found {found}")
        return training

    def head_training(self) -> dict[str, Any]:
        """The training settings of a head on frozen features; the common ones that its encoder needs are kept."""
        common = self.training.model_dump(include={"max_length", "precision"})
        return Training(**(HEAD | common)).model_dump()


def _allowed(found: str, allowed: Any) -> str:
    """``allowed: a, b, c`` and how many more, the closest named first where ``found`` looks like a slip."""
    close = get_close_matches(str(found)[:NAME], [str(value) for value in allowed], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {named(str(value) for value in allowed)}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed in the section at ``location``, a path of keys into the configuration."""
    section: type[BaseModel] = Config
    for part in location:
        if part in section.model_fields:  # otherwise a name in a mapping, whose values are of the same section
            kinds = _flatten(section.model_fields[str(part)].annotation)
            section = next((kind for kind in kinds if _is_section(kind)), section)
    return list(section.model_fields)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _flatten(annotation: Any) -> list[Any]:
    arguments = get_args(annotation)
    return [annotation] if not arguments else [kind for argument in arguments for kind in _flatten(argument)]


def _message(error: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: the key, what was found and what is allowed."""
    location, found = _location(error), error["input"]
    key = ".".join(location) or "the configuration"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; {_allowed(location[-1], _fields_at(location[:-1]))}"
    if error["type"] == "missing":
        return f"the key {key} is missing"
    if error["type"] == "value_error":
        reason = str(error["ctx"]["error"])
        return f"{key}{'' if reason == _EMPTY else ':'} {reason}" if location else reason
    if error["type"] in ("model_type", "dict_type"):
        return f"{key}: a section with keys of its own is expected; found {shown(found)}"
    if error["type"] == "string_type" and not isinstance(found, Mapping | list):
        return f"{key}: YAML reads this as {_read_as(found)}; put the text between quote marks"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}; found {shown(found)}"


def _read_as(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the truth value {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
    return f"the {type(value).__name__} {value}"


def _location(error: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(part) for part in error["loc"] if part != "[key]")


def _line(error: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """A message, headed by where its key stands; what is about several keys begins with the one to look at."""
    message = _message(error)
    key = ".".join(_location(error)) or message.split()[0].rstrip(":")
    while key and key not in places:
        key = key.rpartition(".")[0]
    return f"{places.get(key, 'config')}: {message}"


def load(raw: Mapping[str, Any], places: Mapping[str, str] | None = None) -> Config:
    """Validate a configuration as parsed from YAML.

    Args:
        raw: its keys and values.
        places: where keys stand, as ``config_files.places`` says.

    Raises:
        UserError: one line for every wrong key.
    """
    if "task" not in raw and set(raw) <= set(Config.model_fields):
        raise UserError(
            "config: the key task is missing. What is given with --configfile is a whole experiment: nothing of "
            "config/config.yaml is mixed into it, and an overlay comes behind the file that it is laid over"
        )
    try:
        return Config.model_validate(raw)
    except ValidationError as failure:
        raise UserError("\n".join(_line(error, places or {}) for error in failure.errors(include_url=False))) from None


def plain(section: Any) -> Any:
    """A section as plain built-in types with sorted keys, fit to be compared as a Snakemake parameter."""
    if isinstance(section, BaseModel):
        section = section.model_dump()
    if isinstance(section, Mapping):
        return {str(key): plain(section[key]) for key in sorted(section, key=str)}
    if isinstance(section, list | tuple):
        return [plain(value) for value in section]
    return section
