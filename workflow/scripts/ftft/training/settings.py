"""What a training run is told: its settings, and the files that it reads and writes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from ftft.jobs.environment import Runtime
from ftft.models.lora import Lora
from ftft.models.saved import FINAL
from ftft.training import steps


@dataclass(frozen=True)
class Files:
    """What a run reads and writes.

    Attributes:
        source: folder of the prepared pretrained model.
        train: tokens to train on, or features of a frozen encoder.
        dev: the same of the dev sets, by dataset name; the in-distribution one is ``in_distribution``.
        subset: train only on these uids; None for all.
        guide: training dynamics of the reference that the settings upweight by or take as an expert; None without.
        start: saved models of a run of which the last, ``FINAL``, is started from; None for the pretrained weights.
        models: folder that gets one saved model per name.
        metrics: the dev curve.
        cost: the cost table.
        dynamics: the training dynamics, or None to record none.
        manifest: what the run was made from.
        state: folder for the state that an interrupted run resumes from.
    """

    source: Path
    train: Path
    dev: dict[str, Path]
    subset: Path | None
    guide: Path | None
    start: Path | None
    models: Path
    metrics: Path
    cost: Path
    dynamics: Path | None
    manifest: Path
    state: Path

    @property
    def inputs(self) -> list[Path]:
        """The files whose content decides the result."""
        chosen = [path for path in (self.subset, self.guide) if path is not None]
        chosen += sorted((self.start / FINAL).glob("*.safetensors")) if self.start else []
        return [self.source / "source.json", self.train, *self.dev.values(), *chosen]


@dataclass(frozen=True)
class Call:
    """A training as a process is asked for it: the arguments of ``loop.train``, and the log file.

    Attributes:
        cfg, files, seed, runtime, threads, code, title: see ``loop.train``.
        log: log file, or None.
    """

    cfg: dict[str, Any]
    files: Files
    seed: int
    runtime: Runtime
    threads: int
    code: str
    title: str
    log: str | None


@dataclass(frozen=True)
class Optimization:
    """How the weights are changed, and how often it is looked how good they are; see ``config.Training``."""

    batch_size: int
    micro_batch_size: int | None
    epochs: float | None
    steps: int | None
    evaluate_every: int | None
    learning_rate: float
    optimizer: Literal["adamw", "sgd"]
    schedule: Literal["linear", "cosine", "constant", "plateau"]
    warmup: float
    weight_decay: float
    adam_epsilon: float
    momentum: float
    max_grad_norm: float
    dropout: float | None
    max_length: int
    precision: Literal["bf16", "fp32"]
    gradient_checkpointing: bool
    length_window: int

    def planned(self, examples: int) -> int:
        """The steps that are asked for, on a train set of so many examples, before a budget shortens them."""
        return steps.planned(asdict(self), examples)

    def warmup_of(self, taken: int) -> int:
        """The steps of the warm-up of a run of so many."""
        return steps.warmup(asdict(self), taken)

    def between_evaluations(self, planned: int) -> int:
        """Steps between evaluations of all dev sets."""
        return steps.between_evaluations(asdict(self), planned)


class StopRule(TypedDict):
    """The fields of ``config.Stop``."""

    monitor: str
    patience: int
    min_delta: float
    every: int | None


class SettleRule(TypedDict):
    """The fields of ``config.ReferenceStop``, the name of the saved model, and the ``least`` epochs if above three."""

    name: str
    least: NotRequired[int]
    monitor: Literal["ranking", "subset"]
    by: str
    fraction: float
    bound: float


class UpweightSettings(TypedDict):
    """The fields of ``config.Upweight``."""

    factor: int
    epoch: int


class ExpertSettings(TypedDict):
    """The fields of ``config.ProductOfExperts``."""

    epoch: int


@dataclass(frozen=True)
class Settings:
    """What decides the result of a run, beside its inputs and its seed.

    Attributes:
        training: of the optimization.
        budget: share of its steps.
        tune: ``all``; ``lora``, which trains an adapter and the head; ``head``, which trains a head of
            ``hidden_size`` on ``features``; or ``probe``, the architecture's own head on them.
        lora: the adapter of ``tune: lora``, else None.
        layers: of the model, or None for all.
        labels: names of the classes.
        dev: names of the dev sets.
        metric: which score is watched.
        stops: rules by name: the best model by each is saved under the name.
        reference_stop: the training dynamics end when it fires, if there is one.
        final: whether the model of the last step is wanted; without it, training ends when every stop rule has fired.
        upweight, product_of_experts: how a reference weighs the examples, where it does.
    """

    training: Optimization
    budget: float
    tune: Literal["all", "lora", "head", "probe"]
    lora: Lora | None
    features: str
    hidden_size: int
    layers: int | None
    labels: list[str]
    dev: list[str]
    metric: str
    stops: dict[str, StopRule]
    reference_stop: SettleRule | None
    final: bool
    upweight: UpweightSettings | None
    product_of_experts: ExpertSettings | None

    @classmethod
    def of(cls, cfg: dict[str, Any]) -> "Settings":
        """Settings from the plain values that a job is given."""
        lora = cfg["lora"] and Lora.of(cfg["lora"])
        return cls(**cfg | {"training": Optimization(**cfg["training"]), "lora": lora})
