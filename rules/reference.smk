# In:  tokens/{tokenizer}/{dataset}.parquet, source/{source}/
# Out: reference/{reference}/seed{seed}/ (saved models, dev curve, cost, training dynamics, manifest),
#      datamap/{reference}/seed{seed}.parquet and its .cost.parquet,
#      references and transfer, each as .parquet and .csv, and references.txt


localrules:
    compare_references,


# Any model trained on all data, whether its dynamics or its predictions (ERM) are wanted: they are the same run.
rule train_reference:
    input:
        source=source_file,
        train=train_examples,
        dev=examples_of(*PLAN.dev_sets.values()),
        start=start_of,
    output:
        models=directory(LAYOUT.reference("{reference}", "{seed}").models),
        metrics=LAYOUT.reference("{reference}", "{seed}").metrics,
        cost=LAYOUT.reference("{reference}", "{seed}").cost,
        dynamics=LAYOUT.reference("{reference}", "{seed}").dynamics,
        manifest=LAYOUT.reference("{reference}", "{seed}").manifest,
    log:
        LAYOUT.log("train_reference", "{reference}/seed{seed}"),
    benchmark:
        LAYOUT.benchmark("train_reference", "{reference}/seed{seed}")
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
        dynamics=LAYOUT.reference("{reference}", "{seed}").dynamics,
        data=LAYOUT.data("train"),
    output:
        datamap=LAYOUT.datamap("{reference}", "{seed}"),
        cost=LAYOUT.datamap_cost("{reference}", "{seed}"),
    log:
        LAYOUT.log("compute_datamap", "{reference}/seed{seed}"),
    benchmark:
        LAYOUT.benchmark("compute_datamap", "{reference}/seed{seed}")
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
            for run in outputs.transfer(PLAN, LAYOUT)["runs"]
            for artifact in ("datamap", "curve", "cost")
        ],
        dev=LAYOUT.data("dev"),
    output:
        references=LAYOUT.references.parquet,
        references_csv=csv_file(LAYOUT.references),
        transfer=LAYOUT.transfer.parquet,
        transfer_csv=csv_file(LAYOUT.transfer),
        text=LAYOUT.references.txt,
    log:
        LAYOUT.log("compare_references", "references"),
    conda:
        "../envs/data.yaml"
    params:
        cfg=outputs.transfer(PLAN, LAYOUT),
        code=code("compare_references.py"),
    script:
        "../workflow/scripts/compare_references.py"
