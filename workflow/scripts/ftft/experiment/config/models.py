"""The configuration of models: where they come from, and how they are trained."""

import os
import re
from typing import Any, Literal, Self

from pydantic import Field, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo

from ftft.core.errors import shown
from ftft.dynamics.criteria import RANDOM
from ftft.experiment.config.resources import Resources
from ftft.experiment.config.sections import CHECKSUM, Criterion, Section, Strings, check_read, exactly_one

Architecture = Literal[
    "bert", "roberta", "xlm-roberta", "electra", "deberta-v2", "modernbert", "eurobert",
    "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "modernbert-decoder", "qwen2", "qwen3",
]  # fmt: skip


class Training(Section):
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
    evaluate_every: int | None = Field(
        None, ge=1, description="steps between dev evaluations; without it, a ninth of all steps"
    )
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


# A head on frozen features: what differs from the defaults of Training, by measurement (docs/results/heads.md).
HEAD: dict[str, Any] = {"epochs": 5, "learning_rate": 1e-3, "warmup": 0.0, "dropout": 0.1}


class Scratch(Section):
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


class Lora(Section):
    """An adapter of rank-r matrices beside the frozen linear layers of an encoder (LoRA, Hu et al. 2022)."""

    rank: int = Field(8, ge=1, description="r: inner size of the two matrices beside each layer")
    alpha: int = Field(16, ge=1, description="their product is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the adapter's inputs")
    targets: Strings | None = Field(
        None,
        min_length=1,
        description="which linear layers get one, by how their names end, such as [query, value]; without it, all of "
        "the encoder, whatever the architecture",
    )
    merge: bool = Field(
        False,
        description="save whole models, with the adapter added into their weights, instead of the adapter and the "
        "head alone, which need PEFT and the pretrained weights to be loaded",
    )


class _ModelSource(Section):
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
    sha256: str | None = Field(
        None, pattern=f"^{CHECKSUM}$", description="SHA-256 checksum of the weights, hexadecimal"
    )
    layers: int | None = Field(None, ge=1, description="keep only the first so many layers")
    pair_separator: str | None = Field(
        None,
        min_length=1,
        max_length=24,
        description="between the texts of a pair, for a tokenizer that puts nothing there, as that of most decoders; "
        "without it, a newline",
    )
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


class ReferenceStop(Section):
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
        "correlate and need a lower one. Nothing is compared before there are three epochs, and those that datamap and "
        "the methods name",
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

    tune: Literal["all", "lora", "head"] = Field(
        "all",
        description="what is trained: (all) every weight; (lora) an adapter beside the frozen encoder, and the "
        "classifier's head, which wants a learning_rate some ten times as high; or (head) a small head on features "
        "that the frozen layers compute once, a reference for a few percent of the cost. A head takes only max_length "
        "and precision from the section training; its own defaults, which the model's keys override, are "
        + ", ".join(f"{key} {value:g}" for key, value in HEAD.items()),
    )
    lora: Lora | None = Field(None, description="tune: lora: the adapter, where it is not its defaults")
    quantize: Literal["4bit"] | None = Field(
        None,
        description="tune: lora, on a CUDA device: hold the frozen linear layers in four bits (QLoRA), with the "
        "library bitsandbytes",
    )
    features: Literal["first", "mean", "both"] = Field(
        "mean",
        description="tune: head: what it reads of the last layer: the first token (of a decoder the last), the mean "
        "over tokens, or both",
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
            kind = exactly_one(self, "package", "hub", "scratch")
        else:
            kind = exactly_one(self, "hub", "path", "scratch")
        check_read(self, kind, {"revision": ("hub",), "sha256": ("hub", "package", "path")})
        if self.scratch is not None and self.layers is not None:
            raise ValueError("layers truncates a pretrained model; give scratch its own layers")
        for key, value in (("tune", "head"), ("tune", "lora"), ("head", "probe")):
            if getattr(self, key) == value and self.scratch is not None:
                raise ValueError(
                    f"{key}: {value} needs pretrained features, which a model with random weights (scratch) has none "
                    f"of; leave {key} out, or name a pretrained model"
                )
        if self.lora is not None and self.tune != "lora":
            raise ValueError("lora is of an adapter; add tune: lora, or leave lora out")
        if self.quantize is not None:
            self._check_quantized()
        if self.tune == "head" and self.head == "probe":
            raise ValueError("head: probe starts a model that is trained as a whole; leave out tune: head, or head")
        for key in ("features", "hidden_size"):
            if self.tune != "head" and key in self.model_fields_set:
                raise ValueError(f"{key} is of a head on frozen features; add tune: head, or leave {key} out")
        return self

    def _check_quantized(self) -> None:
        if self.tune != "lora":
            raise ValueError(
                f"quantize: {self.quantize} is of weights that stay frozen beside an adapter; add tune: lora, or leave "
                "quantize out"
            )
        if self.lora is not None and self.lora.merge:
            raise ValueError(
                f"lora.merge adds an adapter into weights that quantize: {self.quantize} has rounded for its training; "
                "leave one of the two out"
            )
        if not self.resources.gpu:
            raise ValueError(
                f"quantize: {self.quantize} needs a CUDA device; add resources: {{gpu: 1}}, or leave quantize out"
            )

    @property
    def adapter(self) -> Lora | None:
        """The adapter that is trained of it, if one is."""
        return (self.lora or Lora()) if self.tune == "lora" else None

    def overrides(self) -> dict[str, Any]:
        """The training settings that this model sets itself."""
        return {name: value for name in Training.model_fields if (value := getattr(self, name)) is not None}
