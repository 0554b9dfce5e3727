"""Where everything that an experiment makes lies: each path is spelled here, once.

The plan asks with values, and the rules with wildcards: ``layout.datamap("{reference}", "{seed}")``.
"""

from dataclasses import dataclass

Seed = int | str  # a number, or a wildcard


def reference_run(model: str, seed: Seed) -> str:
    """Folder of a model trained on all data, inside that of the experiment; as a name, it is the run."""
    return f"reference/{model}/seed{seed}"


def main_run(model: str, recipe: str, seed: Seed) -> str:
    """Folder of a main model, likewise."""
    return f"main/{model}/{recipe}/seed{seed}"


def probe_run(model: str, seed: Seed) -> str:
    """Folder of a trained head that main models start from, likewise."""
    return f"probe/{model}/seed{seed}"


def features_folder(encoder: str) -> str:
    """Folder of the features of a frozen encoder, likewise."""
    return f"features/{encoder}"


@dataclass(frozen=True)
class Table:
    """A table about all runs, in up to three formats.

    Attributes:
        stem: its path without the format.
    """

    stem: str

    @property
    def parquet(self) -> str:
        return f"{self.stem}.parquet"

    @property
    def csv(self) -> str:
        return f"{self.stem}.csv"

    @property
    def txt(self) -> str:
        """For the terminal."""
        return f"{self.stem}.txt"


@dataclass(frozen=True)
class SourceFolder:
    """The prepared source of a model, without its weights."""

    folder: str

    @property
    def identity(self) -> str:
        """What the model is and where its weights lie."""
        return f"{self.folder}/source.json"

    @property
    def config(self) -> str:
        return f"{self.folder}/config.json"

    @property
    def tokenizer(self) -> str:
        return f"{self.folder}/tokenizer.json"

    @property
    def tokenizer_config(self) -> str:
        return f"{self.folder}/tokenizer_config.json"


@dataclass(frozen=True)
class RunFolder:
    """What a training run leaves."""

    folder: str

    @property
    def models(self) -> str:
        """Folder of the saved models, one for each stop rule."""
        return f"{self.folder}/models"

    def interpolated(self, checkpoint: str) -> str:
        """Folder of the mean of a saved model's weights and the pretrained ones."""
        return f"{self.folder}/interpolated/{checkpoint}"

    @property
    def metrics(self) -> str:
        """The dev curve."""
        return f"{self.folder}/metrics.parquet"

    @property
    def cost(self) -> str:
        return f"{self.folder}/cost.parquet"

    @property
    def dynamics(self) -> str:
        """The training dynamics, of a reference alone."""
        return f"{self.folder}/dynamics.parquet"

    @property
    def manifest(self) -> str:
        return f"{self.folder}/manifest.json"


@dataclass(frozen=True)
class EvaluationFolder:
    """What the evaluation of a saved model leaves."""

    folder: str

    @property
    def metrics(self) -> str:
        return f"{self.folder}/metrics.parquet"

    def predictions(self, dataset: str) -> str:
        return f"{self.folder}/predictions/{dataset}.parquet"


@dataclass(frozen=True)
class Layout:
    """The results of one experiment.

    Attributes:
        folder: that all of them are in.
    """

    folder: str

    @classmethod
    def of(cls, task: str) -> "Layout":
        """The results of a task, from the working folder on."""
        return cls(f"results/{task}")

    # Data and models.

    def data(self, dataset: str) -> str:
        return f"{self.folder}/data/{dataset}.parquet"

    @property
    def data_checks(self) -> Table:
        return Table(f"{self.folder}/data_checks")

    def source(self, source: str) -> SourceFolder:
        return SourceFolder(f"{self.folder}/source/{source}")

    def tokens(self, tokenizer: str, dataset: str) -> str:
        return f"{self.folder}/tokens/{tokenizer}/{dataset}.parquet"

    def features(self, encoder: str, dataset: str) -> str:
        return f"{self.folder}/{features_folder(encoder)}/{dataset}.parquet"

    def features_cost(self, encoder: str) -> str:
        return f"{self.folder}/{features_folder(encoder)}/cost.parquet"

    # Trainings, and what comes between them.

    def run(self, name: str) -> RunFolder:
        """What a run leaves whose name is its folder here."""
        return RunFolder(f"{self.folder}/{name}")

    def reference(self, model: str, seed: Seed) -> RunFolder:
        return self.run(reference_run(model, seed))

    def main(self, model: str, recipe: str, seed: Seed) -> RunFolder:
        return self.run(main_run(model, recipe, seed))

    def probe(self, model: str, seed: Seed) -> RunFolder:
        return self.run(probe_run(model, seed))

    def datamap(self, reference: str, seed: Seed) -> str:
        return f"{self.folder}/datamap/{reference}/seed{seed}.parquet"

    def datamap_cost(self, reference: str, seed: Seed) -> str:
        return f"{self.folder}/datamap/{reference}/seed{seed}.cost.parquet"

    def subset(self, subset: str, seed: Seed) -> str:
        return f"{self.folder}/subset/{subset}/seed{seed}.parquet"

    def subset_cost(self, subset: str, seed: Seed) -> str:
        return f"{self.folder}/subset/{subset}/seed{seed}.cost.parquet"

    def evaluation(self, run: str, checkpoint: str) -> EvaluationFolder:
        return EvaluationFolder(f"{self.folder}/evaluation/{run}/{checkpoint}")

    # What is known about all runs.

    @property
    def forecast(self) -> Table:
        return Table(f"{self.folder}/forecast")

    @property
    def memory(self) -> Table:
        """What memory each training takes, as forecast."""
        return Table(f"{self.folder}/memory")

    @property
    def references(self) -> Table:
        return Table(f"{self.folder}/references")

    @property
    def transfer(self) -> Table:
        return Table(f"{self.folder}/transfer")

    @property
    def comparison(self) -> Table:
        return Table(f"{self.folder}/comparison")

    @property
    def cost_curve(self) -> Table:
        return Table(f"{self.folder}/cost_curve")

    @property
    def summary(self) -> Table:
        return Table(f"{self.folder}/summary")

    @property
    def page(self) -> str:
        return f"{self.folder}/report.html"

    def figure(self, kind: str, *names: str) -> str:
        """A figure for papers, without its format; ``names`` say what it is of."""
        return f"{self.folder}/figures/{'-'.join([kind, *names])}"

    def table(self, kind: str, *names: str) -> str:
        """A table for papers, likewise."""
        return f"{self.folder}/tables/{'-'.join([kind, *names])}"

    # What jobs say of themselves.

    def log(self, rule: str, job: str) -> str:
        return f"{self.folder}/logs/{rule}/{job}.log"

    def benchmark(self, rule: str, job: str) -> str:
        return f"{self.folder}/benchmarks/{rule}/{job}.tsv"
