# In:  PLAN and LAYOUT.
# Out: input functions: the files that a job reads, by the model, run or subset that its wildcards name.


def model_of(wildcards):
    """Name of the model that a job trains or evaluates."""
    if "run" in wildcards.keys():
        return PLAN.run_at[wildcards.run].model
    if "encoder" in wildcards.keys():
        return PLAN.model_of_encoder(wildcards.encoder)
    names = (wildcards.get(key) for key in ("reference", "main", "model"))
    return next(filter(None, names))


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
