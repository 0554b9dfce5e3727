# In:  datamap/{reference}/seed{seed}.parquet (or, for a random subset, data/train.parquet), tokens, source/{source}/
# Out: subset/{subset}/seed{seed}.parquet and its .cost.parquet,
#      main/{main}/{recipe}/seed{seed}/ (saved models, dev curve, cost, manifest),
#      {run}/interpolated/{checkpoint}/ (a saved model)


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
        cfg=lambda wildcards: stages.select(PLAN, wildcards.subset),
        code=code("select_subset.py"),
    script:
        "../workflow/scripts/select_subset.py"


rule train_main:
    input:
        source=source_file("source.json"),
        train=train_examples,
        dev=tokens_of(*PLAN.dev_sets.values()),
        subset=subset_of,
        guide=guide_of,
        start=start_of,
    output:
        models=directory(f"{RESULTS}/main/{{main}}/{{recipe}}/seed{{seed}}/models"),
        metrics=f"{RESULTS}/main/{{main}}/{{recipe}}/seed{{seed}}/metrics.parquet",
        cost=f"{RESULTS}/main/{{main}}/{{recipe}}/seed{{seed}}/cost.parquet",
        manifest=f"{RESULTS}/main/{{main}}/{{recipe}}/seed{{seed}}/manifest.json",
    log:
        log_of("train_main", "{main}/{recipe}/seed{seed}"),
    benchmark:
        benchmark_of("train_main", "{main}/{recipe}/seed{seed}")
    priority: lambda wildcards: round(100 * PLAN.budget_of(wildcards.recipe))
    conda:
        "../envs/train.yaml"
    threads: resource("threads")
    resources:
        gpu=whole_gpus(resource("gpu")),
        gpu_percent=gpu_percent(resource("gpu")),
        gres=shards,
        mem_mb=at_each_attempt(resource("mem_mb")),
        runtime=at_each_attempt(resource("minutes")),
    params:
        cfg=lambda wildcards: stages.train(PLAN, wildcards.main, wildcards.recipe),
        code=code("train_main.py"),
    script:
        "../workflow/scripts/train_main.py"


rule interpolate_weights:
    input:
        models=f"{RESULTS}/{{run}}/models",
        start=start_of_run,
        source=source_file("source.json"),
    output:
        model=directory(f"{RESULTS}/{{run}}/interpolated/{{checkpoint}}"),
    log:
        log_of("interpolate_weights", "{run}/{checkpoint}"),
    benchmark:
        benchmark_of("interpolate_weights", "{run}/{checkpoint}")
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=at_each_attempt(resource("mem_mb")),
    params:
        cfg=lambda wildcards: stages.interpolate(PLAN, wildcards.checkpoint),
        code=code("interpolate_weights.py"),
    script:
        "../workflow/scripts/interpolate_weights.py"
