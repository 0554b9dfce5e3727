"""What models and data sets an experiment has: their sources, tokens and frozen features, and who shares them."""

import itertools
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftft.core.errors import without_credentials
from ftft.core.files import is_url
from ftft.data.schemas import IN_DISTRIBUTION, TRAIN
from ftft.experiment.config import Config, Model, plain
from ftft.experiment.naming import short_name

if TYPE_CHECKING:
    from ftft.compute.features import Embed
    from ftft.data.tokens import Tokenize


class Materials:
    """Everything that the rules ask about models and data, whatever is done with them.

    Attributes:
        config: the experiment.
        sources: where each data artifact comes from, by its name.
        roles: what each data artifact is for, by its name: ``train``, ``dev`` or ``test``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        data = config.data
        sets = [("train", "train", data.train), ("dev", "dev", data.dev), ("test", "test", data.test)]
        for name, ood in data.ood.items():
            sets += [(f"{name}.dev", "dev", ood.dev), (f"{name}.test", "test", ood.test)]
        self.sources = {name: source for name, _, source in sets if source is not None}
        self.roles = {name: role for name, role, source in sets if source is not None}

    def source_of(self, model: str) -> str:
        """Name of a model's source, shared by models that differ only in depth or training."""
        return self._model_sources[model]

    @cached_property
    def _model_sources(self) -> dict[str, str]:
        # Two sources may have the same short name; the later one then goes by the model's own, or by a number. In lower
        # case, since not every file system tells it from upper case.
        taken: dict[str, dict[str, Any]] = {}
        names = {}
        for name, model in self.config.models.items():
            identity = _identity(model)
            short = short_name(name, model)
            candidates = itertools.chain([short, name], (f"{short}-{number}" for number in itertools.count(2)))
            names[name] = next(each for each in candidates if taken.setdefault(each.lower(), identity) == identity)
        return names

    @cached_property
    def model_sources(self) -> dict[str, dict[str, Any]]:
        """Settings of rule ``download_model``, by source name."""
        models = self.config.models
        return {self.source_of(name): plain(_identity(models[name])) for name in reversed(models)}

    def tokenizer_of(self, model: str) -> str:
        """Name of a model's tokens; models with another maximum length than the common one have tokens of their own."""
        length = self.config.training_of(model).max_length
        common = length == self.config.training.max_length
        return self.source_of(model) if common else f"{self.source_of(model)}+{length}"

    @cached_property
    def tokenizers(self) -> "dict[str, Tokenize]":
        """Settings of rule ``tokenize``, by tokenizer name."""
        models = self.config.models
        return {self.tokenizer_of(name): {"max_length": self.config.training_of(name).max_length} for name in models}

    def source_of_tokenizer(self, tokenizer: str) -> str:
        """Name of the source that a tokenizer belongs to."""
        return next(self.source_of(name) for name in self.config.models if self.tokenizer_of(name) == tokenizer)

    def encoder_of(self, model: str) -> str:
        """Name of a model's frozen features: those of one source, depth and maximum length, in one precision."""
        layers = self.config.models[model].layers
        precision = self.config.training_of(model).precision
        name = self.tokenizer_of(model) + (f"+layers{layers}" if layers else "")
        return name if precision == self.config.training.precision else f"{name}+{precision}"

    @cached_property
    def encoders(self) -> "dict[str, Embed]":
        """Settings of rule ``embed``, by the name of the features."""
        return {
            self.encoder_of(name): {
                "datasets": self.embedded_sets,
                "layers": model.layers,
                "precision": self.config.training_of(name).precision,
            }
            for name, model in self.config.models.items()
        }

    def model_of_encoder(self, encoder: str) -> str:
        """The first model that has these features; its resources are those of the job."""
        return next(name for name in self.config.models if self.encoder_of(name) == encoder)

    @property
    def embedded_sets(self) -> list[str]:
        """Names of the data artifacts that heads are trained and evaluated on."""
        return [TRAIN, *self.dev_sets.values()]

    def trains_head(self, model: str) -> bool:
        """Whether only a head on frozen features is trained of a model."""
        return self.config.models[model].tune == "head"

    @property
    def dev_sets(self) -> dict[str, str]:
        """Names of the data artifacts that are evaluated during training, by dataset."""
        sets = {name: f"{name}.dev" for name in self.config.data.ood}
        # Sorted, so that the order in the configuration changes nothing.
        return {IN_DISTRIBUTION: "dev"} | {name: sets[name] for name in sorted(sets) if sets[name] in self.sources}

    @property
    def test_sets(self) -> dict[str, str]:
        """Names of the data artifacts that are evaluated after training, by dataset."""
        own = "test" if "test" in self.sources else "dev"
        return {IN_DISTRIBUTION: own} | {name: f"{name}.test" for name in sorted(self.config.data.ood)}

    @property
    def urls(self) -> dict[str, str]:
        """Where data is fetched from, by data artifact, where no setting may show it: it has a password or the like."""
        paths = {name: source.path for name, source in self.sources.items() if source.path and is_url(source.path)}
        return {name: path for name, path in paths.items() if path != without_credentials(path)}


def _identity(model: Model) -> dict[str, Any]:
    keys = ("hub", "revision", "package", "path", "scratch", "sha256")
    separator = {} if model.pair_separator is None else {"pair_separator": model.pair_separator}
    return {key: getattr(model, key) for key in keys} | separator
