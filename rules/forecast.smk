# In:  tokens/{tokenizer}/train.parquet, source/{source}/, data_checks.txt
# Out: forecast.parquet, forecast.csv and forecast.txt


localrules:
    forecast,


# Before the first training: what each method will cost, and when its main model has to stop to be cheaper than ERM.
rule forecast:
    input:
        sorted(
            {
                path
                for work in workload.forecast(PLAN, RESULTS)["work"].values()
                for path in (work["tokens"], f"{work['source']}/config.json")
            }
        ),
        # Data whose check fails is trained on by nothing; another check of it changes no forecast.
        checks=ancient(f"{RESULTS}/data_checks.txt"),
    output:
        table=f"{RESULTS}/forecast.parquet",
        csv=csv_file("forecast"),
        text=f"{RESULTS}/forecast.txt",
    log:
        log_of("forecast", "forecast"),
    priority: FIRST
    conda:
        "../envs/train.yaml"
    params:
        cfg=workload.forecast(PLAN, RESULTS),
        code=code("forecast.py"),
    script:
        "../workflow/scripts/forecast.py"
