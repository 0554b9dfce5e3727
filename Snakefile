# FTFT: fine-tune a small reference model, select the ambiguous third of the training data by its training dynamics,
# fine-tune a larger main model on that, and compare with the usual alternatives out of distribution.
#
#   results/{task}/data, tokens       the labelled text, and its tokens for each tokenizer
#   results/{task}/data_checks.txt    what of the data can mislead: texts that sets share, classes without a row
#   results/{task}/forecast.csv       what each method will cost, before the first training
#   results/{task}/features, probe    what frozen encoders compute, and heads trained on it for main models to start from
#   results/{task}/reference, datamap models trained on all data (ERM is one of them), and their data maps
#   results/{task}/subset, main       what each selection chose, and the main models trained on it
#   results/{task}/evaluation         predictions and scores on the test sets
#   results/{task}/references.csv     which references are suitable, before a main model is trained
#   results/{task}/summary.csv, comparison.csv, cost_curve.csv, report.html
#   results/{task}/figures, tables    the same for papers, as SVG, PNG, CSV and LaTeX
#
# At the end, the terminal shows the table of the methods and where the page is.
from snakemake.utils import min_version

min_version("9.27")

# Files given with --configfile are a complete experiment: the default is not to shine through where they are silent.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.current_basedir}/config/config.yaml"


# What `snakemake --report report.html` begins with.
report: "workflow/report/workflow.rst"


# Used with --sdm apptainer alone; envs/container.def says how to build it.
container: "ftft.sif"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/resources.smk"
include: "rules/captions.smk"
include: "rules/data.smk"
include: "rules/forecast.smk"
include: "rules/heads.smk"
include: "rules/reference.smk"
include: "rules/main.smk"
include: "rules/results.smk"
include: "rules/guard.smk"
include: "rules/targets.smk"
include: "rules/terminal.smk"


rule all:
    default_target: True
    input:
        LAYOUT.summary.parquet,
        LAYOUT.page,
        [f"{figure['stem']}.svg" for figure in outputs.figures(PLAN, LAYOUT)],
        [f"{table['stem']}.csv" for table in outputs.tables(PLAN, LAYOUT)],
