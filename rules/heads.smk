# In:  tokens/{tokenizer}/{dataset}.parquet, source/{source}/
# Out: features/{encoder}/ (of the train set and the dev sets, and their cost), shared by all heads on them,
#      probe/{model}/seed{seed}/ (a saved model whose head alone was trained, dev curve, cost, manifest)


rule embed:
    input:
        source=source_file,
        tokens=tokens_of(*PLAN.embedded_sets),
    output:
        features=[
            LAYOUT.features("{encoder}", dataset) for dataset in PLAN.embedded_sets
        ],
        cost=LAYOUT.features_cost("{encoder}"),
    log:
        LAYOUT.log("embed", "{encoder}"),
    benchmark:
        LAYOUT.benchmark("embed", "{encoder}")
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
        source=source_file,
        train=lambda wildcards: features_of("train")(wildcards)[0],
        dev=features_of(*PLAN.dev_sets.values()),
    output:
        models=directory(LAYOUT.probe("{model}", "{seed}").models),
        metrics=LAYOUT.probe("{model}", "{seed}").metrics,
        cost=LAYOUT.probe("{model}", "{seed}").cost,
        manifest=LAYOUT.probe("{model}", "{seed}").manifest,
    log:
        LAYOUT.log("train_probe", "{model}/seed{seed}"),
    benchmark:
        LAYOUT.benchmark("train_probe", "{model}/seed{seed}")
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
