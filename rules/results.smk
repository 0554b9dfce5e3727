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
        curve=LAYOUT.run("{run}").metrics,
        source=source_file,
        tokens=tokens_of(*PLAN.test_sets.values()),
    output:
        metrics=LAYOUT.evaluation("{run}", "{checkpoint}").metrics,
        predictions=[
            LAYOUT.evaluation("{run}", "{checkpoint}").predictions(name)
            for name in PLAN.test_sets
        ],
    log:
        LAYOUT.log("evaluate_ood", "{run}/{checkpoint}"),
    benchmark:
        LAYOUT.benchmark("evaluate_ood", "{run}/{checkpoint}")
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
        table=LAYOUT.comparison.parquet,
        csv=csv_file(LAYOUT.comparison),
    log:
        LAYOUT.log("compare_methods", "comparison"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={"entries": outputs.entries(PLAN, LAYOUT)},
        code=code("compare_methods.py"),
    script:
        "../workflow/scripts/compare_methods.py"


rule trace_costs:
    input:
        [LAYOUT.run(run.path).metrics for run, _ in PLAN.evaluations()],
        outputs.costs(PLAN, LAYOUT),
    output:
        table=LAYOUT.cost_curve.parquet,
        csv=csv_file(LAYOUT.cost_curve),
    log:
        LAYOUT.log("trace_costs", "cost_curve"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={"entries": outputs.entries(PLAN, LAYOUT)},
        code=code("trace_costs.py"),
    script:
        "../workflow/scripts/trace_costs.py"


rule summarize:
    input:
        evaluation_files(),
        outputs.costs(PLAN, LAYOUT),
        comparison=LAYOUT.comparison.parquet,
    output:
        table=LAYOUT.summary.parquet,
        csv=csv_file(LAYOUT.summary),
        text=LAYOUT.summary.txt,
    log:
        LAYOUT.log("summarize", "summary"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={
            "entries": outputs.entries(PLAN, LAYOUT),
            "metric": PLAN.config.data.metric,
        },
        code=code("summarize.py"),
    script:
        "../workflow/scripts/summarize.py"


rule draw_figures:
    input:
        datamaps=[entry["path"] for entry in outputs.datamap_entries(PLAN, LAYOUT)],
        summary=LAYOUT.summary.parquet,
        cost_curve=LAYOUT.cost_curve.parquet,
        references=transfer_files(),
    output:
        figure_files(),
    log:
        LAYOUT.log("draw_figures", "figures"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={
            "figures": outputs.figures(PLAN, LAYOUT),
            "metric": PLAN.config.data.metric,
        },
        code=code("draw_figures.py"),
    script:
        "../workflow/scripts/draw_figures.py"


rule write_tables:
    input:
        summary=LAYOUT.summary.parquet,
        comparison=LAYOUT.comparison.parquet,
        references=transfer_files(),
    output:
        table_files(),
    log:
        LAYOUT.log("write_tables", "tables"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={"tables": outputs.tables(PLAN, LAYOUT), "metric": PLAN.config.data.metric},
        code=code("write_tables.py"),
    script:
        "../workflow/scripts/write_tables.py"


rule report:
    input:
        [cost["path"] for cost in outputs.named_costs(PLAN, LAYOUT)],
        summary=LAYOUT.summary.parquet,
        comparison=LAYOUT.comparison.parquet,
        cost_curve=LAYOUT.cost_curve.parquet,
        forecast=LAYOUT.forecast.parquet,
        memory=LAYOUT.memory.parquet,
        references=transfer_files(),
        train=LAYOUT.data("train"),
        checks=LAYOUT.data_checks.parquet,
        dynamics=[entry["dynamics"] for entry in outputs.datamap_entries(PLAN, LAYOUT)],
        datamaps=[entry["path"] for entry in outputs.datamap_entries(PLAN, LAYOUT)],
        subsets=[entry["path"] for entry in outputs.subset_entries(PLAN, LAYOUT)],
    output:
        page=shown(LAYOUT.page, "page", "Page", {"page": "report.html"}),
    log:
        LAYOUT.log("report", "report"),
    conda:
        "../envs/data.yaml"
    params:
        cfg={
            "page": outputs.report(PLAN, LAYOUT),
            "templates": {
                path.name: sha256(path)
                for pattern in ("report.*", "page/*.js")
                for path in sorted((LIBRARY / "display/templates").glob(pattern))
            },
        },
        code=code("report.py"),
    script:
        "../workflow/scripts/report.py"
