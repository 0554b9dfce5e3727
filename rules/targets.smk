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
        [
            f"{RESULTS}/tokens/{tokenizer}/{dataset}.parquet"
            for tokenizer, dataset in PLAN.tokenized
        ],


rule references:
    input:
        [f"{RESULTS}/{run.path}/metrics.parquet" for run in PLAN.runs if not run.recipe],


rule datamaps:
    input:
        [entry["path"] for entry in outputs.datamap_entries(PLAN, RESULTS)],


rule transfer:
    input:
        transfer_files(),
        f"{RESULTS}/forecast.txt",


rule subsets:
    input:
        [entry["path"] for entry in outputs.subset_entries(PLAN, RESULTS)],


rule mains:
    input:
        [f"{RESULTS}/{run.path}/metrics.parquet" for run in PLAN.runs if run.recipe],


rule evaluations:
    input:
        evaluation_files(),


rule summary:
    input:
        f"{RESULTS}/summary.parquet",
        f"{RESULTS}/summary.csv",
        f"{RESULTS}/summary.txt",
        f"{RESULTS}/cost_curve.parquet",
