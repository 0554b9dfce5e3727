# In:  datamap/{reference}/seed{seed}.parquet (or, for a random subset, data/train.parquet), tokens, source/{source}/
# Out: subset/{subset}/seed{seed}.parquet and its .cost.parquet,
#      main/{main}/{subset}/seed{seed}/ (saved models, dev curve, cost, manifest)


rule select_subset:
    input:
        scores=scores_of,
    output:
        subset=f"{RESULTS}/subset/{{subset}}/seed{{seed}}.parquet",
        cost=f"{RESULTS}/subset/{{subset}}/seed{{seed}}.cost.parquet",
    log:
        log_of("select_subset", "{subset}/seed{seed}"),
    benchmark:
        benchmark_of("select_subset", "{subset}/seed{seed}")
    conda:
        "../envs/data.yaml"
    params:
        cfg=lambda wildcards: PLAN.select(wildcards.subset),
        code=code("select_subset.py"),
    script:
        "../workflow/scripts/select_subset.py"


rule train_main:
    input:
        source=source_file("source.json"),
        train=train_tokens("train_main"),
        dev=tokens_of(*PLAN.dev_sets.values()),
        subset=f"{RESULTS}/subset/{{subset}}/seed{{seed}}.parquet",
    output:
        models=directory(f"{RESULTS}/main/{{main}}/{{subset}}/seed{{seed}}/models"),
        metrics=f"{RESULTS}/main/{{main}}/{{subset}}/seed{{seed}}/metrics.parquet",
        cost=f"{RESULTS}/main/{{main}}/{{subset}}/seed{{seed}}/cost.parquet",
        manifest=f"{RESULTS}/main/{{main}}/{{subset}}/seed{{seed}}/manifest.json",
    log:
        log_of("train_main", "{main}/{subset}/seed{seed}"),
    benchmark:
        benchmark_of("train_main", "{main}/{subset}/seed{seed}")
    conda:
        "../envs/train.yaml"
    threads: resource("threads")
    resources:
        gpu=resource("gpu"),
        gpu_slots=gpu_slot,
        mem_mb=at_each_attempt(resource("mem_mb")),
        runtime=at_each_attempt(resource("minutes")),
    params:
        cfg=lambda wildcards: PLAN.train(wildcards.main, wildcards.subset),
        code=code("train_main.py"),
    script:
        "../workflow/scripts/train_main.py"
