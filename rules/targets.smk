# In:  PLAN
# Out: nothing of their own; each brings one kind of artifact up to date: `snakemake --cores 8 datamaps`


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
        [LAYOUT.tokens(tokenizer, dataset) for tokenizer, dataset in PLAN.tokenized],


rule references:
    input:
        [LAYOUT.run(run.path).metrics for run in PLAN.runs if not run.recipe],


rule datamaps:
    input:
        [entry["path"] for entry in outputs.datamap_entries(PLAN, LAYOUT)],


rule transfer:
    input:
        transfer_files(),
        LAYOUT.forecast.txt,


rule subsets:
    input:
        [entry["path"] for entry in outputs.subset_entries(PLAN, LAYOUT)],


rule mains:
    input:
        [LAYOUT.run(run.path).metrics for run in PLAN.runs if run.recipe],


rule evaluations:
    input:
        evaluation_files(),


rule summary:
    input:
        LAYOUT.summary.parquet,
        LAYOUT.summary.csv,
        LAYOUT.summary.txt,
        LAYOUT.cost_curve.parquet,
