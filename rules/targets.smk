# In:  PLAN
# Out: nothing of their own; each brings one kind of artifact up to date: `snakemake --cores 8 datamaps`
#
# Each asks for the check of the data too, which is done before the first training.


localrules:
    tokens,
    references,
    datamaps,
    transfer,
    subsets,
    mains,
    evaluations,
    summary,


rule tokens:
    input:
        LAYOUT.data_checks.txt,
        [LAYOUT.tokens(tokenizer, dataset) for tokenizer, dataset in PLAN.tokenized],


rule references:
    input:
        LAYOUT.data_checks.txt,
        [LAYOUT.run(run.path).metrics for run in PLAN.runs if not run.recipe],


rule datamaps:
    input:
        LAYOUT.data_checks.txt,
        [entry["path"] for entry in outputs.datamap_entries(PLAN, LAYOUT)],


rule transfer:
    input:
        LAYOUT.data_checks.txt,
        transfer_files(),
        LAYOUT.forecast.txt,


rule subsets:
    input:
        LAYOUT.data_checks.txt,
        [entry["path"] for entry in outputs.subset_entries(PLAN, LAYOUT)],


rule mains:
    input:
        LAYOUT.data_checks.txt,
        [LAYOUT.run(run.path).metrics for run in PLAN.runs if run.recipe],


rule evaluations:
    input:
        LAYOUT.data_checks.txt,
        evaluation_files(),


rule summary:
    input:
        LAYOUT.data_checks.txt,
        LAYOUT.summary.parquet,
        LAYOUT.summary.csv,
        LAYOUT.summary.txt,
        LAYOUT.cost_curve.parquet,
