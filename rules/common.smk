# In:  config, as parsed from YAML, and the files that it is from, for the lines of mistakes.
# Out: PLAN (what the experiment asks for), LAYOUT (where everything lies), and helpers that the rules share.
#
# A cluster job parses this again: it must stay light, use no network and print nothing.
import math
import os
import sys
from pathlib import Path

if not workflow.current_basedir.is_local:
    sys.exit(
        f"{workflow.current_basedir} is read without its clone, where its library is; needed: clone the repository, and "
        "name the Snakefile of the clone"
    )

# The clone that these rules are read from; workflow.basedir would be that of a workflow with this one as a module.
CLONE = Path(workflow.current_basedir).parent
SCRIPTS = CLONE / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

from ftft.core.errors import UserError
from ftft.core.files import sha256
from ftft.experiment import config as settings
from ftft.experiment import config_files, outputs, provenance, stages, workload
from ftft.experiment.layout import Layout
from ftft.experiment.plan import Plan
from ftft.experiment.provenance import LIBRARY
from ftft.jobs import manifest
from ftft.jobs.environment import Environment, Runtime

try:
    config_files.check_folder(CLONE)
    PLACES = config_files.places(workflow.configfiles, workflow.config_settings.config)
    PLAN = Plan(settings.load(config, PLACES))
    # In full, for a message that says where paths start.
    DATA_DIR = os.path.abspath(os.path.expanduser(PLAN.config.data_dir))
    CONTENT = {
        name: provenance.content(source, DATA_DIR)
        for name, source in PLAN.sources.items()
    }
    MODEL_CONTENT = {
        PLAN.source_of(name): provenance.model_content(PLAN.config.models[name])
        for name in dict.fromkeys(run.model for run in PLAN.runs)
    }
except UserError as failure:
    sys.exit(str(failure))

LAYOUT = Layout.of(PLAN.config.task)

# Priority of a job that others wait for. That of main trainings is the share of the steps that they take, in percent:
# the long ones go before the short ones, so that no core is left idle beside a long last one.
FIRST = 101

# What is to rerun nothing reaches the scripts beside the parameters, which Snakemake tracks.
Environment(
    data_dir=PLAN.config.data_dir,
    urls=PLAN.urls,
    runtime=Runtime(**settings.plain(PLAN.config.runtime)),
    cores=workflow.resource_settings.cores,
    gpus={name: model.resources.gpu for name, model in PLAN.config.models.items()},
    mem_mb={name: model.resources.mem_mb for name, model in PLAN.config.models.items()},
).pass_on()


wildcard_constraints:
    dataset=r"[^/]+",
    tokenizer=r"[^/]+",
    source=r"[^/]+",
    encoder=r"[^/]+",
    model=r"[^/]+",
    reference=r"[^/]+",
    main=r"[^/]+",
    subset=r"[^/]+(/[^/]+)?",
    recipe=r"[^/]+(/[^/]+)?",
    seed=r"\d+",
    run=r"(reference|main)/.+/seed\d+",
    checkpoint=r"[^/]+",


def code(script):
    """Hash of a script and the library modules it imports: Snakemake does not track modules by itself."""
    return provenance.code_hash(SCRIPTS / script)


def source_file(wildcards):
    """The prepared source of the model that the wildcards name, whichever stage they belong to."""
    return LAYOUT.source(PLAN.source_of(model_of(wildcards))).identity


def tokenizer_source(wildcards):
    """The source of the model whose tokenizer the wildcards name."""
    return LAYOUT.source(PLAN.source_of_tokenizer(wildcards.tokenizer))


def tokens_of(*datasets):
    """Tokens of data sets, for the model that the wildcards name."""

    def paths(wildcards):
        tokenizer = PLAN.tokenizer_of(model_of(wildcards))
        return [LAYOUT.tokens(tokenizer, dataset) for dataset in datasets]

    return paths


def features_of(*datasets):
    """Frozen features of data sets, for the model that the wildcards name."""

    def paths(wildcards):
        encoder = PLAN.encoder_of(model_of(wildcards))
        return [LAYOUT.features(encoder, dataset) for dataset in datasets]

    return paths


def examples_of(*datasets):
    """What the model that the wildcards name is trained on: tokens, or features where only a head is."""
    return lambda wildcards: (
        features_of if PLAN.trains_head(model_of(wildcards)) else tokens_of
    )(*datasets)(wildcards)


def train_examples(wildcards):
    """The examples that the model that the wildcards name is trained on."""
    return examples_of("train")(wildcards)[0]


def scores_of(wildcards):
    """What a subset is selected by; a random one knows nothing of a reference."""
    runs = PLAN.reference_runs_of(wildcards.subset, int(wildcards.seed))
    datamaps = [LAYOUT.datamap(run.model, run.seed) for run in runs]
    return datamaps or [LAYOUT.data("train")]


def subset_of(wildcards):
    """What a main model is trained on, where that is a part of the data."""
    subset = PLAN.subset_of(wildcards.recipe)
    return LAYOUT.subset(subset, wildcards.seed) if subset else []


def guide_of(wildcards):
    """The training dynamics that weigh all data for a main model, where a reference does."""
    if PLAN.subset_of(wildcards.recipe):
        return []
    runs = PLAN.reference_runs_of(wildcards.recipe, int(wildcards.seed))
    return LAYOUT.run(runs[0].path).dynamics if runs else []


def start_of(wildcards):
    """The model with a trained head that a run starts from, where it does."""
    model, recipe = model_of(wildcards), wildcards.get("recipe", "")
    if not PLAN.needs_probe(model, recipe):
        return []
    return LAYOUT.probe(model, wildcards.seed).models


def start_of_run(wildcards):
    """The model with a trained head that the run of an evaluated model started from."""
    run = PLAN.run_at[wildcards.run]
    return LAYOUT.probe(run.model, run.seed).models


def saved_model(wildcards):
    """Folder of a run's saved models, or of the mean of one with the pretrained weights."""
    folder, checkpoint = LAYOUT.run(wildcards.run), wildcards.checkpoint
    trained = checkpoint == PLAN.trained_of(checkpoint)
    return folder.models if trained else folder.interpolated(checkpoint)


def transfer_files():
    """What is known about the references, where there are any."""
    tables = [LAYOUT.references.parquet, LAYOUT.transfer.parquet]
    return tables if PLAN.references else []


def shown(path, caption, category, labels, subcategory=None):
    """A result that `snakemake --report` carries, with the caption of that name."""
    return report(
        path,
        caption=f"../workflow/report/{caption}.rst",
        category=category,
        subcategory=subcategory,
        labels=labels,
    )


def figure_files():
    """Every figure in both formats."""
    headings = {
        "robustness-cost": "Robustness against cost",
        "learning-curves": "Learning curves",
        "cost-curve": "Dev score against cost",
        "transfer": "Agreement of references",
        "datamap": "Data maps",
    }
    return [
        shown(
            f"{figure['stem']}.{suffix}",
            figure["kind"],
            "Figures",
            # The page lets its reader switch between two values, and begins with "yes".
            names_in(figure) | {"vector graphics": "yes" if suffix == "svg" else "no"},
            headings[figure["kind"]],
        )
        for figure in outputs.figures(PLAN, LAYOUT)
        for suffix in ("svg", "png")
    ]


def table_files():
    """Every table for papers in both formats."""
    return [
        shown(
            f"{table['stem']}.{suffix}",
            f"table-{table['kind']}",
            "Tables",
            {"table": table["kind"]} | names_in(table) | {"format": form},
            "For papers",
        )
        for table in outputs.tables(PLAN, LAYOUT)
        for suffix, form in (("csv", "CSV"), ("tex", "LaTeX"))
    ]


def names_in(entry):
    """What a figure or table is of, as labels."""
    keys = {"main": "main model", "reference": "reference", "seed": "seed"}
    found = {label: str(entry[key]) for key, label in keys.items() if key in entry}
    return found or {"references": "all"}


def csv_file(table):
    """A table in full, as CSV."""
    return shown(
        table.csv, "table-full", "Tables", {"table": Path(table.stem).name}, "In full"
    )


def evaluation_files():
    """Scores and predictions of every saved model that some result needs.

    All of them: Snakemake compares no settings of a job that lacks an output, so a test set that is added has to be
    missed as a file.
    """
    found = (LAYOUT.evaluation(run.path, name) for run, name in PLAN.evaluations())
    return [
        path
        for folder in found
        for path in (folder.metrics, *map(folder.predictions, PLAN.test_sets))
    ]


def model_of(wildcards):
    """Name of the model that a job trains or evaluates."""
    if "run" in wildcards.keys():
        return PLAN.run_at[wildcards.run].model
    if "encoder" in wildcards.keys():
        return PLAN.model_of_encoder(wildcards.encoder)
    names = (wildcards.get(key) for key in ("reference", "main", "model"))
    return next(filter(None, names))


def resource(name):
    """A resource of the model that the wildcards name."""
    return lambda wildcards: getattr(
        PLAN.config.models[model_of(wildcards)].resources, name
    )


def unless_head(amount):
    """So much for training a reference as a whole, and none for a head on frozen features."""
    return lambda wildcards: (
        None if PLAN.trains_head(model_of(wildcards)) else amount(wildcards)
    )


def at_each_attempt(amount):
    """So much at the first attempt, twice at the second: a job killed for time or memory is sent again with more."""
    return lambda wildcards, attempt: attempt * amount(wildcards)


def one_gpu(wildcards):
    """The GPUs of a job that has no use for several."""
    return min(resource("gpu")(wildcards), 1)


def whole_gpus(amount):
    """GPUs to ask a cluster for: a whole one for a job with a share of it, and none where shards are asked for."""

    def whole(wildcards):
        if shards(wildcards):
            return None
        return math.ceil(amount(wildcards))

    return whole


def gpu_percent(amount):
    """How much of the GPUs of this machine a job takes; profiles/default says how much there is."""
    return lambda wildcards: round(100 * amount(wildcards))


def shards(wildcards):
    """What a job with a share of a GPU asks a cluster for whose profile says of how many shards a GPU is made."""
    default = workflow.resource_settings.default_resources or {}
    of_one = default.get("gpu_shards")
    of_one = getattr(of_one, "value", of_one)
    share = resource("gpu")(wildcards)
    if of_one and 0 < share < 1:
        return f"shard:{max(round(share * of_one), 1)}"
    return None
