# In:  reference/ and main/ runs, datamap/, subset/
# Out: evaluation/{run}/{checkpoint}/ (predictions and scores),
#      comparison, cost_curve and summary, each as .parquet and .csv, and summary.txt for the terminal,
#      report.html, and for papers figures/ (.svg and .png) and tables/ (.csv and .tex)


localrules:
    compare_methods,
    trace_costs,
    summarize,
    draw_figures,
    write_tables,
    report,


rule evaluate_ood:
    input:
        model=saved_model,
        curve=f"{RESULTS}/{{run}}/metrics.parquet",
        source=source_file("source.json"),
        tokens=tokens_of(*PLAN.test_sets.values()),
    output:
        metrics=f"{RESULTS}/evaluation/{{run}}/{{checkpoint}}/metrics.parquet",
        predictions=[
            f"{RESULTS}/evaluation/{{run}}/{{checkpoint}}/predictions/{name}.parquet"
            for name in PLAN.test_sets
        ],
    log:
        log_of("evaluate_ood", "{run}/{checkpoint}"),
    benchmark:
        benchmark_of("evaluate_ood", "{run}/{checkpoint}")
    conda:
        "../envs/train.yaml"
    threads: resource("threads")
    resources:
        gpu=whole_gpus(one_gpu),
        gpu_percent=gpu_percent(one_gpu),
        gres=shards,
        mem_mb=at_each_attempt(resource("mem_mb")),
        runtime=at_each_attempt(lambda wildcards: 60),
    params:
        cfg=lambda wildcards: stages.evaluate(
            PLAN, model_of(wildcards), wildcards.checkpoint
        ),
        code=code("evaluate_ood.py"),
    script:
        "../workflow/scripts/evaluate_ood.py"


rule compare_methods:
    input:
        evaluation_files(),
    output:
        table=f"{RESULTS}/comparison.parquet",
        csv=csv_file("comparison"),
    log:
        log_of("compare_methods", "comparison"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={"entries": outputs.entries(PLAN, RESULTS)},
        code=code("compare_methods.py"),
    script:
        "../workflow/scripts/compare_methods.py"


rule trace_costs:
    input:
        [f"{RESULTS}/{run.path}/metrics.parquet" for run, _ in PLAN.evaluations()],
        outputs.costs(PLAN, RESULTS),
    output:
        table=f"{RESULTS}/cost_curve.parquet",
        csv=csv_file("cost_curve"),
    log:
        log_of("trace_costs", "cost_curve"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={"entries": outputs.entries(PLAN, RESULTS)},
        code=code("trace_costs.py"),
    script:
        "../workflow/scripts/trace_costs.py"


rule summarize:
    input:
        evaluation_files(),
        outputs.costs(PLAN, RESULTS),
        comparison=f"{RESULTS}/comparison.parquet",
    output:
        table=f"{RESULTS}/summary.parquet",
        csv=csv_file("summary"),
        text=f"{RESULTS}/summary.txt",
    log:
        log_of("summarize", "summary"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={
            "entries": outputs.entries(PLAN, RESULTS),
            "metric": PLAN.config.data.metric,
        },
        code=code("summarize.py"),
    script:
        "../workflow/scripts/summarize.py"


rule draw_figures:
    input:
        datamaps=[entry["path"] for entry in outputs.datamap_entries(PLAN, RESULTS)],
        summary=f"{RESULTS}/summary.parquet",
        cost_curve=f"{RESULTS}/cost_curve.parquet",
        references=transfer_files(),
    output:
        figure_files(),
    log:
        log_of("draw_figures", "figures"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={
            "figures": outputs.figures(PLAN, RESULTS),
            "metric": PLAN.config.data.metric,
        },
        code=code("draw_figures.py"),
    script:
        "../workflow/scripts/draw_figures.py"


rule write_tables:
    input:
        summary=f"{RESULTS}/summary.parquet",
        comparison=f"{RESULTS}/comparison.parquet",
        references=transfer_files(),
    output:
        table_files(),
    log:
        log_of("write_tables", "tables"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={"tables": outputs.tables(PLAN, RESULTS), "metric": PLAN.config.data.metric},
        code=code("write_tables.py"),
    script:
        "../workflow/scripts/write_tables.py"


rule report:
    input:
        [cost["path"] for cost in outputs.named_costs(PLAN, RESULTS)],
        summary=f"{RESULTS}/summary.parquet",
        comparison=f"{RESULTS}/comparison.parquet",
        cost_curve=f"{RESULTS}/cost_curve.parquet",
        forecast=f"{RESULTS}/forecast.parquet",
        references=transfer_files(),
        train=f"{RESULTS}/data/train.parquet",
        checks=f"{RESULTS}/data_checks.parquet",
        dynamics=[entry["dynamics"] for entry in outputs.datamap_entries(PLAN, RESULTS)],
        datamaps=[entry["path"] for entry in outputs.datamap_entries(PLAN, RESULTS)],
        subsets=[entry["path"] for entry in outputs.subset_entries(PLAN, RESULTS)],
    output:
        page=shown(f"{RESULTS}/report.html", "page", "Page", {"page": "report.html"}),
    log:
        log_of("report", "report"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={
            "page": outputs.report(PLAN, RESULTS),
            "templates": {
                path.name: sha256(path)
                for pattern in ("report.*", "page/*.js")
                for path in sorted((LIBRARY / "display/templates").glob(pattern))
            },
        },
        code=code("report.py"),
    script:
        "../workflow/scripts/report.py"
