# In:  tokens/{tokenizer}/{dataset}.parquet, source/{source}/
# Out: reference/{reference}/seed{seed}/ (saved models, dev curve, cost, training dynamics, manifest),
#      datamap/{reference}/seed{seed}.parquet and its .cost.parquet,
#      references and transfer, each as .parquet and .csv, and references.txt


localrules:
    compare_references,


# Any model trained on all data, whether its dynamics or its predictions (ERM) are wanted: they are the same run.
rule train_reference:
    input:
        source=source_file("source.json"),
        train=train_examples,
        dev=examples_of(*PLAN.dev_sets.values()),
        start=start_of,
    output:
        models=directory(f"{RESULTS}/reference/{{reference}}/seed{{seed}}/models"),
        metrics=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/metrics.parquet",
        cost=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/cost.parquet",
        dynamics=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/dynamics.parquet",
        manifest=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/manifest.json",
    log:
        log_of("train_reference", "{reference}/seed{seed}"),
    benchmark:
        benchmark_of("train_reference", "{reference}/seed{seed}")
    priority: FIRST
    conda:
        "../envs/train.yaml"
    threads: resource("threads")
    resources:
        gpu=unless_head(whole_gpus(resource("gpu"))),
        gpu_percent=unless_head(gpu_percent(resource("gpu"))),
        gres=unless_head(shards),
        mem_mb=at_each_attempt(resource("mem_mb")),
        runtime=at_each_attempt(resource("minutes")),
    params:
        cfg=lambda wildcards: stages.train(PLAN, wildcards.reference),
        code=code("train_reference.py"),
    script:
        "../workflow/scripts/train_reference.py"


rule compute_datamap:
    input:
        dynamics=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/dynamics.parquet",
        data=f"{RESULTS}/data/train.parquet",
    output:
        datamap=f"{RESULTS}/datamap/{{reference}}/seed{{seed}}.parquet",
        cost=f"{RESULTS}/datamap/{{reference}}/seed{{seed}}.cost.parquet",
    log:
        log_of("compute_datamap", "{reference}/seed{seed}"),
    benchmark:
        benchmark_of("compute_datamap", "{reference}/seed{seed}")
    conda:
        "../envs/data.yaml"
    params:
        cfg=stages.datamap(PLAN),
        code=code("compute_datamap.py"),
    script:
        "../workflow/scripts/compute_datamap.py"


rule compare_references:
    input:
        [
            run[artifact]
            for run in outputs.transfer(PLAN, RESULTS)["runs"]
            for artifact in ("datamap", "curve", "cost")
        ],
        dev=f"{RESULTS}/data/dev.parquet",
    output:
        references=f"{RESULTS}/references.parquet",
        references_csv=csv_file("references"),
        transfer=f"{RESULTS}/transfer.parquet",
        transfer_csv=csv_file("transfer"),
        text=f"{RESULTS}/references.txt",
    log:
        log_of("compare_references", "references"),
    conda:
        "../envs/data.yaml"
    params:
        cfg=outputs.transfer(PLAN, RESULTS),
        code=code("compare_references.py"),
    script:
        "../workflow/scripts/compare_references.py"
