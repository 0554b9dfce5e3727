# In:  PLAN and LAYOUT.
# Out: the results that `snakemake --report` carries, with their captions and labels.


def shown(path, caption, category, labels, subcategory=None):
    """A result that `snakemake --report` carries, with the caption of that name."""
    return report(
        path,
        caption=f"../workflow/report/{caption}.rst",
        category=category,
        subcategory=subcategory,
        labels=labels,
    )


def csv_file(table):
    """A table in full, as CSV."""
    return shown(
        table.csv, "table-full", "Tables", {"table": Path(table.stem).name}, "In full"
    )


def figure_files():
    """Every figure in both formats."""
    headings = {
        "robustness-cost": "Robustness against cost",
        "learning-curves": "Learning curves",
        "cost-curve": "Dev score against cost",
        "transfer": "Agreement of references",
        "datamap": "Data maps",
    }
    return [
        shown(
            f"{figure['stem']}.{suffix}",
            figure["kind"],
            "Figures",
            # The page lets its reader switch between two values, and begins with "yes".
            names_in(figure) | {"vector graphics": "yes" if suffix == "svg" else "no"},
            headings[figure["kind"]],
        )
        for figure in outputs.figures(PLAN, LAYOUT)
        for suffix in ("svg", "png")
    ]


def table_files():
    """Every table for papers in both formats."""
    return [
        shown(
            f"{table['stem']}.{suffix}",
            f"table-{table['kind']}",
            "Tables",
            {"table": table["kind"]} | names_in(table) | {"format": form},
            "For papers",
        )
        for table in outputs.tables(PLAN, LAYOUT)
        for suffix, form in (("csv", "CSV"), ("tex", "LaTeX"))
    ]


def names_in(entry):
    """What a figure or table is of, as labels."""
    keys = {"main": "main model", "reference": "reference", "seed": "seed"}
    found = {label: str(entry[key]) for key, label in keys.items() if key in entry}
    return found or {"references": "all"}
