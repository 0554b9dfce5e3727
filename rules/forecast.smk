# In:  tokens/{tokenizer}/train.parquet, source/{source}/, data_checks.txt
# Out: forecast.parquet, forecast.csv and forecast.txt, memory.parquet and memory.csv


localrules:
    forecast,


# Before the first training: what each method will cost, when its main model has to stop to be cheaper than ERM, and
# what memory each training takes.
rule forecast:
    input:
        workload.inputs(PLAN, LAYOUT),
        # Data whose check fails is trained on by nothing; another check of it changes no forecast.
        checks=ancient(LAYOUT.data_checks.txt),
    output:
        table=LAYOUT.forecast.parquet,
        csv=csv_file(LAYOUT.forecast),
        text=LAYOUT.forecast.txt,
        memory=LAYOUT.memory.parquet,
        memory_csv=csv_file(LAYOUT.memory),
    log:
        LAYOUT.log("forecast", "forecast"),
    priority: FIRST
    conda:
        "../envs/train.yaml"
    params:
        cfg=workload.forecast(PLAN, LAYOUT),
        code=code("forecast.py"),
    script:
        "../workflow/scripts/forecast.py"
