# In:  the sources of data and models that the config names.
# Out: data/{dataset}.parquet, data_checks.parquet and data_checks.txt,
#      source/{source}/ (identity, configuration and tokenizer of a model), tokens/{tokenizer}/{dataset}.parquet


localrules:
    download,
    download_model,
    check_data,


rule download:
    output:
        data=f"{RESULTS}/data/{{dataset}}.parquet",
    log:
        log_of("download", "{dataset}"),
    benchmark:
        benchmark_of("download", "{dataset}")
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
        data=[f"{RESULTS}/data/{name}.parquet" for name in sorted(PLAN.sources)],
    output:
        table=f"{RESULTS}/data_checks.parquet",
        text=f"{RESULTS}/data_checks.txt",
    log:
        log_of("check_data", "data_checks"),
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
            f"{RESULTS}/data/train.parquet"
            if PLAN.model_sources[wildcards.source]["scratch"]
            else []
        ),
    output:
        source=f"{RESULTS}/source/{{source}}/source.json",
        config=f"{RESULTS}/source/{{source}}/config.json",
        tokenizer=f"{RESULTS}/source/{{source}}/tokenizer.json",
        tokenizer_config=f"{RESULTS}/source/{{source}}/tokenizer_config.json",
    log:
        log_of("download_model", "{source}"),
    benchmark:
        benchmark_of("download_model", "{source}")
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
        data=f"{RESULTS}/data/{{dataset}}.parquet",
        source=lambda wildcards: f"{RESULTS}/source/{PLAN.source_of_tokenizer(wildcards.tokenizer)}/source.json",
        tokenizer=lambda wildcards: f"{RESULTS}/source/{PLAN.source_of_tokenizer(wildcards.tokenizer)}/tokenizer.json",
    output:
        tokens=f"{RESULTS}/tokens/{{tokenizer}}/{{dataset}}.parquet",
    log:
        log_of("tokenize", "{tokenizer}/{dataset}"),
    benchmark:
        benchmark_of("tokenize", "{tokenizer}/{dataset}")
    conda:
        "../envs/data.yaml"
    params:
        cfg=lambda wildcards: PLAN.tokenizers[wildcards.tokenizer],
        code=code("tokenize_texts.py"),
    script:
        # Not tokenize.py: it would hide the standard library's module of that name.
        "../workflow/scripts/tokenize_texts.py"
