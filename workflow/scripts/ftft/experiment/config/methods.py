"""The configuration of methods: what a main model is trained on, for how long, and by whose training dynamics."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ftft.dynamics.criteria import CRITERIA, RANDOM
from ftft.experiment.config.sections import EMPTY, Criterion, Section, Strings


class DataMap(Section):
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


class Select(Section):
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


class Stop(Section):
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


class Upweight(Section):
    """Just Train Twice (Liu et al. 2021): what the reference gets wrong is trained on more often."""

    factor: int = Field(4, ge=2, description="how often such an example comes up in a pass over the train set")
    epoch: int = Field(1, ge=0, description="epoch of the reference's predictions, from 0")


class ProductOfExperts(Section):
    """The reference as a weak expert (Sanh et al. 2021): the main model learns what it adds to the reference."""

    epoch: int = Field(1, ge=0, description="epoch of the reference's predictions, from 0")


class Method(Section):
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
            raise ValueError(EMPTY)
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
