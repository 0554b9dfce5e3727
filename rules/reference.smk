# In:  tokens/{tokenizer}/{dataset}.parquet, source/{source}/
# Out: reference/{reference}/seed{seed}/ (saved models, dev curve, cost, training dynamics),
#      datamap/{reference}/seed{seed}.parquet


# Any model trained on all data, whether its dynamics or its predictions (ERM) are wanted: they are the same run.
rule train_reference:
    input:
        source=source_file("source.json"),
        train=lambda wildcards: tokens_of("train")(wildcards)[0],
        dev=tokens_of(*PLAN.dev_sets.values()),
    output:
        models=directory(f"{RESULTS}/reference/{{reference}}/seed{{seed}}/models"),
        metrics=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/metrics.parquet",
        cost=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/cost.parquet",
        dynamics=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/dynamics.parquet",
    log:
        log_of("train_reference", "{reference}/seed{seed}"),
    benchmark:
        benchmark_of("train_reference", "{reference}/seed{seed}")
    conda:
        "../envs/train.yaml"
    threads: resource("threads")
    resources:
        gpu=resource("gpu"),
        gpu_slots=gpu_slot,
        mem_mb=resource("mem_mb"),
        runtime=resource("runtime"),
    params:
        cfg=lambda wildcards: PLAN.train(wildcards.reference),
        code=code("train_reference.py"),
    script:
        "../workflow/scripts/train_reference.py"


rule compute_datamap:
    input:
        dynamics=f"{RESULTS}/reference/{{reference}}/seed{{seed}}/dynamics.parquet",
        data=f"{RESULTS}/data/train.parquet",
    output:
        datamap=f"{RESULTS}/datamap/{{reference}}/seed{{seed}}.parquet",
    log:
        log_of("compute_datamap", "{reference}/seed{seed}"),
    benchmark:
        benchmark_of("compute_datamap", "{reference}/seed{seed}")
    conda:
        "../envs/data.yaml"
    params:
        code=code("compute_datamap.py"),
    script:
        "../workflow/scripts/compute_datamap.py"
