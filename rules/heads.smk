# In:  tokens/{tokenizer}/{dataset}.parquet, source/{source}/
# Out: features/{encoder}/ (of the train set and the dev sets, and their cost), shared by all heads on them,
#      probe/{model}/seed{seed}/ (a saved model whose head alone was trained, dev curve, cost, manifest)


rule embed:
    input:
        source=source_file("source.json"),
        tokens=tokens_of(*PLAN.embedded_sets),
    output:
        features=[
            f"{RESULTS}/features/{{encoder}}/{dataset}.parquet"
            for dataset in PLAN.embedded_sets
        ],
        cost=f"{RESULTS}/features/{{encoder}}/cost.parquet",
    log:
        log_of("embed", "{encoder}"),
    benchmark:
        benchmark_of("embed", "{encoder}")
    priority: FIRST
    conda:
        "../envs/train.yaml"
    threads: resource("threads")
    resources:
        gpu=whole_gpus(one_gpu),
        gpu_percent=gpu_percent(one_gpu),
        gres=shards,
        mem_mb=at_each_attempt(resource("mem_mb")),
        runtime=at_each_attempt(resource("minutes")),
    params:
        cfg=lambda wildcards: PLAN.encoders[wildcards.encoder],
        code=code("embed.py"),
    script:
        "../workflow/scripts/embed.py"


# A classifier's own head on frozen features, as the start of main models: linear probing, then fine-tuning.
rule train_probe:
    input:
        source=source_file("source.json"),
        train=lambda wildcards: features_of("train")(wildcards)[0],
        dev=features_of(*PLAN.dev_sets.values()),
    output:
        models=directory(f"{RESULTS}/probe/{{model}}/seed{{seed}}/models"),
        metrics=f"{RESULTS}/probe/{{model}}/seed{{seed}}/metrics.parquet",
        cost=f"{RESULTS}/probe/{{model}}/seed{{seed}}/cost.parquet",
        manifest=f"{RESULTS}/probe/{{model}}/seed{{seed}}/manifest.json",
    log:
        log_of("train_probe", "{model}/seed{seed}"),
    benchmark:
        benchmark_of("train_probe", "{model}/seed{seed}")
    priority: FIRST
    conda:
        "../envs/train.yaml"
    threads: resource("threads")
    resources:
        mem_mb=at_each_attempt(resource("mem_mb")),
        runtime=at_each_attempt(resource("minutes")),
    params:
        cfg=lambda wildcards: stages.probe(PLAN, wildcards.model),
        code=code("train_probe.py"),
    script:
        "../workflow/scripts/train_probe.py"
