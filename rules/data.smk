# In:  the sources of data and models that the config names.
# Out: data/{dataset}.parquet, data_checks.parquet and data_checks.txt,
#      source/{source}/ (identity, configuration and tokenizer of a model), tokens/{tokenizer}/{dataset}.parquet


localrules:
    download,
    download_model,
    check_data,


rule download:
    output:
        data=LAYOUT.data("{dataset}"),
    log:
        LAYOUT.log("download", "{dataset}"),
    benchmark:
        LAYOUT.benchmark("download", "{dataset}")
    conda:
        "../envs/data.yaml"
    params:
        cfg=lambda wildcards: stages.download(PLAN, wildcards.dataset)
        | {"content": CONTENT[wildcards.dataset]},
        code=code("download.py"),
    script:
        "../workflow/scripts/download.py"


# Before the first training: which sets share texts with the train set, and which classes have no row.
rule check_data:
    input:
        data=[LAYOUT.data(name) for name in sorted(PLAN.sources)],
    output:
        table=LAYOUT.data_checks.parquet,
        text=LAYOUT.data_checks.txt,
    log:
        LAYOUT.log("check_data", "data_checks"),
    priority: FIRST
    conda:
        "../envs/data.yaml"
    params:
        cfg=stages.check(PLAN),
        code=code("check_data.py"),
    script:
        "../workflow/scripts/check_data.py"


rule download_model:
    input:
        # A model with random weights has a tokenizer trained on the task's own texts.
        train=lambda wildcards: (
            LAYOUT.data("train")
            if PLAN.model_sources[wildcards.source]["scratch"]
            else []
        ),
    output:
        source=LAYOUT.source("{source}").identity,
        config=LAYOUT.source("{source}").config,
        tokenizer=LAYOUT.source("{source}").tokenizer,
        tokenizer_config=LAYOUT.source("{source}").tokenizer_config,
    log:
        LAYOUT.log("download_model", "{source}"),
    benchmark:
        LAYOUT.benchmark("download_model", "{source}")
    conda:
        "../envs/train.yaml"
    params:
        cfg=lambda wildcards: PLAN.model_sources[wildcards.source]
        | {"content": MODEL_CONTENT.get(wildcards.source, {})},
        code=code("download_model.py"),
    script:
        "../workflow/scripts/download_model.py"


rule tokenize:
    input:
        data=LAYOUT.data("{dataset}"),
        source=lambda wildcards: tokenizer_source(wildcards).identity,
        tokenizer=lambda wildcards: tokenizer_source(wildcards).tokenizer,
    output:
        tokens=LAYOUT.tokens("{tokenizer}", "{dataset}"),
    log:
        LAYOUT.log("tokenize", "{tokenizer}/{dataset}"),
    benchmark:
        LAYOUT.benchmark("tokenize", "{tokenizer}/{dataset}")
    conda:
        "../envs/data.yaml"
    params:
        cfg=lambda wildcards: PLAN.tokenizers[wildcards.tokenizer],
        code=code("tokenize_texts.py"),
    script:
        # Not tokenize.py: it would hide the standard library's module of that name.
        "../workflow/scripts/tokenize_texts.py"
