"""The configuration of an experiment: all sections together, and what has to hold between them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ftft.core.errors import shown
from ftft.experiment.config import consistency
from ftft.experiment.config.data import Data
from ftft.experiment.config.methods import DataMap, Method
from ftft.experiment.config.models import HEAD, Model, Training
from ftft.experiment.config.sections import LARGEST, Name, Section, Strings, as_list, as_section


class Runtime(Section):
    """Settings that change only speed and display; none of them ever triggers a rerun."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="auto takes CUDA, else Apple's MPS, else the CPU"
    )
    tracker: Literal["wandb", "tensorboard", "trackio"] | None = Field(
        None, description="also send the curves to this tracker (install it first)"
    )
    progress: bool = Field(True, description="a progress bar for a training that has the terminal to itself")
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="compile the training pass; auto does so on CUDA for runs of 5,000 steps and more whose passes are "
        "not recorded",
    )
    cuda_graphs: bool = Field(
        True,
        description="on CUDA, record the training passes of a few shapes and launch each as a whole, which is several "
        "times faster where the host cannot launch kernels as fast as the GPU computes them; texts are padded to those "
        "shapes",
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="minutes between checkpoints that a killed run resumes from"
    )

    @field_validator("compile", mode="before")
    @classmethod
    def _check_compile(cls, value: Any) -> Any:
        if value != "auto" and not isinstance(value, bool):
            raise ValueError(f"auto, true or false is expected; found {shown(value)}")
        return value


class Report(Section):
    """How the results are shown."""

    blur_text: bool = Field(False, description="texts of examples appear only at a click, for texts that may offend")


class Config(Section):
    """One experiment: a task and a matrix of models, methods and seeds."""

    task: Name = Field(description="its name; results go to results/{task}")
    data_dir: str = Field(
        ".", description="where relative data paths start, itself from the working folder; may change without a rerun"
    )
    data: Data = Field(description="the labelled text")
    models: dict[Name, Model] = Field(min_length=1, description="by names that become part of paths")
    references: Strings = Field(default_factory=list, description="models whose training dynamics select subsets")
    mains: Strings = Field(min_length=1, description="models to make robust")
    methods: dict[Name, Annotated[Method, BeforeValidator(as_section)]] = Field(
        min_length=1,
        description="by names; one is erm: {}, plain training, to which costs and gains are relative",
    )
    seeds: Annotated[list[int], BeforeValidator(as_list)] = Field(
        min_length=1,
        description=f"from 0 to {LARGEST}; the reference of seed s is paired with the main model of seed s",
    )
    datamap: DataMap = Field(default_factory=DataMap, description="how the data maps are computed")
    training: Training = Field(description="settings that change results, common to all models")
    report: Report = Field(default_factory=Report, description="how the results are shown")
    runtime: Runtime = Field(default_factory=Runtime, description="settings that change no result")

    @model_validator(mode="after")
    def _check(self) -> Self:
        consistency.check(self)
        return self

    def starts_from_probe(self, method: Method, main: str) -> bool:
        """Whether a main model's head starts from a trained one."""
        return "probe" in (method.head, self.models[main].head)

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
