# In:  datamap/{reference}/seed{seed}.parquet (or, for a random subset, data/train.parquet), tokens, source/{source}/
# Out: subset/{subset}/seed{seed}.parquet and its .cost.parquet,
#      main/{main}/{recipe}/seed{seed}/ (saved models, dev curve, cost, manifest),
#      {run}/interpolated/{checkpoint}/ (a saved model)


rule select_subset:
    input:
        scores=scores_of,
    output:
        subset=LAYOUT.subset("{subset}", "{seed}"),
        cost=LAYOUT.subset_cost("{subset}", "{seed}"),
    log:
        LAYOUT.log("select_subset", "{subset}/seed{seed}"),
    benchmark:
        LAYOUT.benchmark("select_subset", "{subset}/seed{seed}")
    conda:
        "../envs/data.yaml"
    params:
        cfg=lambda wildcards: stages.select(PLAN, wildcards.subset),
        code=code("select_subset.py"),
    script:
        "../workflow/scripts/select_subset.py"


rule train_main:
    input:
        source=source_file,
        train=train_examples,
        dev=tokens_of(*PLAN.dev_sets.values()),
        subset=subset_of,
        guide=guide_of,
        start=start_of,
    output:
        models=directory(LAYOUT.main("{main}", "{recipe}", "{seed}").models),
        metrics=LAYOUT.main("{main}", "{recipe}", "{seed}").metrics,
        cost=LAYOUT.main("{main}", "{recipe}", "{seed}").cost,
        manifest=LAYOUT.main("{main}", "{recipe}", "{seed}").manifest,
    log:
        LAYOUT.log("train_main", "{main}/{recipe}/seed{seed}"),
    benchmark:
        LAYOUT.benchmark("train_main", "{main}/{recipe}/seed{seed}")
    priority: lambda wildcards: round(100 * PLAN.recipes[wildcards.recipe].budget)
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
        models=LAYOUT.run("{run}").models,
        start=start_of_run,
        source=source_file,
    output:
        model=directory(LAYOUT.run("{run}").interpolated("{checkpoint}")),
    log:
        LAYOUT.log("interpolate_weights", "{run}/{checkpoint}"),
    benchmark:
        LAYOUT.benchmark("interpolate_weights", "{run}/{checkpoint}")
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=at_each_attempt(resource("mem_mb")),
    params:
        cfg=lambda wildcards: stages.interpolate(PLAN, wildcards.checkpoint),
        code=code("interpolate_weights.py"),
    script:
        "../workflow/scripts/interpolate_weights.py"
