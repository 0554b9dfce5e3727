import csv
import re
import shutil
import subprocess

import pyarrow as pa
import pytest
from test_report import write_comparison

from ftft.core.artifacts import read_table, write_table
from ftft.data.schemas import IN_DISTRIBUTION
from ftft.display import tables
from ftft.results.schemas import REFERENCES, SUMMARY
from ftft.results.writing import harmless, write_both


def write_summary(path, runs, datasets=(IN_DISTRIBUTION, "far_away", "near")):
    """``runs``: (method, reference, seed, a score for each dataset, FLOPs)."""
    rows = [
        {"task": "t", "main": "big", "method": method, "reference": reference, "seed": seed, "split": "test"}
        | {"metric": "accuracy", "step": 30 + seed, "train_examples": 0, "flops": flops, "seconds": 2 * flops}
        | {"dataset": dataset, "value": score}
        for method, reference, seed, scores, flops in runs
        for dataset, score in zip(datasets, scores, strict=True)
    ]
    write_table(pa.Table.from_pylist(rows, SUMMARY), path, SUMMARY)
    return path


RUNS = [
    ("erm", "", 0, (0.9, 0.5, 0.4), 100.0),
    ("erm", "", 1, (0.8, 0.6, 0.5), 100.0),
    ("ftft_stop", "small+tiny", 0, (0.7, 0.5, 0.3), 50.0),
    ("ftft_stop", "small+tiny", 1, (0.7, 0.7, 0.3), 75.0),
]
INTERVALS = [("erm", "", None, None), ("ftft_stop", "small+tiny", -0.105, 0.01)]


@pytest.fixture
def written(tmp_path):
    def write(runs=RUNS, intervals=INTERVALS, **options):
        dataset = {"dataset": IN_DISTRIBUTION} if options else {}
        tables.write_results(
            write_summary(tmp_path / "summary.parquet", runs, **options),
            write_comparison(tmp_path / "comparison.parquet", intervals, **dataset),
            "big",
            "accuracy",
            tmp_path / "results.csv",
            tmp_path / "results.tex",
        )
        return tmp_path / "results.csv", tmp_path / "results.tex"

    return write


def lines_of(tex):
    """The cells of each line of a LaTeX table, header first."""
    rows = [line.removesuffix(r" \\") for line in tex.read_text(encoding="utf-8").splitlines() if line.endswith(r"\\")]
    return [row.split(" & ") for row in rows]


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_results_in_numbers(written):
    erm, ftft = rows_of(written()[0])
    assert erm["method"] == "erm"
    assert erm["difference to ERM"] == erm["difference to ERM low"] == erm["reference"] == ""
    assert ftft["reference"] == "small+tiny"
    # Seeds: 0.7 and 0.7; means over two sets 0.4 and 0.5; less ERM's 0.45 and 0.55 with the same seeds.
    for column, value in {
        "in_distribution": 0.7,
        "in_distribution sd": 0,
        "far_away": 0.6,
        "far_away sd": 0.2 / 2**0.5,
        "OOD mean": 0.45,
        "OOD mean sd": 0.1 / 2**0.5,
        "difference to ERM": -0.05,
        "difference to ERM sd": 0,
        "difference to ERM low": -0.105,
        "difference to ERM high": 0.01,
        "FLOPs (ERM = 100)": 62.5,
        "seconds (ERM = 100)": 62.5,
        "stopped at step": 30.5,
        "number of seeds": 2,
    }.items():
        assert float(ftft[column]) == pytest.approx(value, abs=1e-9), column
    assert ftft["OOD mean"] == "0.45"


def test_no_cell_of_a_csv_is_a_formula(tmp_path):
    """Texts that spreadsheets would compute get a quote mark; numbers stay numbers, also those that are text."""
    texts = ["=1+1", "+a", "-a", "@SUM(1)", "\t=1", "\n=1", "-1-1", "+1=2", "-0.5", "+1", "-2E-3", "a=1", "", None]
    safe = [f"'{text}" for text in texts[:8]] + texts[8:]
    assert [harmless(text) for text in texts] == safe
    assert harmless(-0.62) == -0.62
    schema = pa.schema({"name": pa.string(), "value": pa.float64()})
    table = pa.table({"name": texts, "value": [-0.62] * len(texts)}, schema=schema)
    write_both(table, tmp_path / "table.parquet", tmp_path / "both.csv", schema)
    tables._write_csv(table.to_pandas().rename(columns={"value": "=value"}), tmp_path / "table.csv")
    for name, column in (("both.csv", "value"), ("table.csv", "'=value")):
        rows = rows_of(tmp_path / name)
        assert [row["name"] for row in rows] == [text or "" for text in safe], name
        assert {row[column] for row in rows} == {"-0.62"}
    assert read_table(tmp_path / "table.parquet")["name"].to_pylist() == texts


def test_results_ready_to_print(written):
    header, erm, ftft = lines_of(written()[1])
    assert header == [
        *("method", "reference", "in distribution", r"far\_away", "near", "OOD mean"),
        *("difference to ERM", "FLOPs (ERM = 100)", "seconds (ERM = 100)", "seeds"),
    ]
    assert erm == [
        *("ERM", "--", r"\textbf{85.00 $\pm$ 7.07}", r"55.00 $\pm$ 7.07", r"\textbf{45.00 $\pm$ 7.07}"),
        *(r"\textbf{50.00 $\pm$ 7.07}", "--", "100.0", "100.0", "2"),
    ]
    assert ftft == [
        *(r"ftft\_stop", "small+tiny", r"70.00 $\pm$ 0.00", r"\textbf{60.00 $\pm$ 14.14}", r"30.00 $\pm$ 0.00"),
        *(r"45.00 $\pm$ 7.07", "$-$5.00 [$-$10.50, +1.00]", "62.5", "62.5", "2"),
    ]


def test_equal_scores_are_both_the_best(written):
    runs = [RUNS[0], ("m", "", 0, (0.9, 0.50001, 0.4), 100.0)]
    _, erm, other = lines_of(written(runs)[1])
    assert erm[2:6] == other[2:6] == [rf"\textbf{{{score}}}" for score in ("90.00", "50.00", "40.00", "45.00")]


def test_one_seed_without_erm_and_ood_sets(written):
    runs = [("ftft", "small", 0, (0.7,), 50.0)]
    numbers, tex = written(runs, [], datasets=(IN_DISTRIBUTION,))
    assert lines_of(tex)[0] == [
        *("method", "reference", "in distribution", "difference to ERM"),
        *("FLOPs (ERM = 100)", "seconds (ERM = 100)", "seeds"),
    ]
    assert lines_of(tex)[1] == ["ftft", "small", r"\textbf{70.00}", "--", "--", "--", "1"]
    (row,) = rows_of(numbers)
    assert row["in_distribution"] == "0.7"
    assert row["FLOPs (ERM = 100)"] == row["in_distribution sd"] == row["difference to ERM"] == ""


REFERENCE_RUNS = [
    ("minilm_l4", 0, 0.991, 0.625, 0.3333, 0.6, 0.0667, 0.071, "tiny, seed 1", "doubtful"),
    ("tiny", 1, 0.4, None, 0.3333, 0.5, 0.1667, None, None, "too weak"),
]


@pytest.fixture
def references(tmp_path):
    names = ("reference", "seed", "dev", "ood_dev", "ambiguous", "easy", "hard", "lost", "compared_with", "verdict")
    rows = [dict(zip(names, row, strict=True)) | {"reason": "50 % & more"} for row in REFERENCE_RUNS]
    write_table(pa.Table.from_pylist(rows, REFERENCES), tmp_path / "references.parquet", REFERENCES)
    return tmp_path / "references.parquet"


def test_references(references, tmp_path):
    tables.write_references(references, tmp_path / "r.csv", tmp_path / "r.tex")
    header, first, second = lines_of(tmp_path / "r.tex")
    assert header[:4] == ["reference", "seed", "dev", "OOD dev"]
    assert first == [
        *(r"minilm\_l4", "0", "99.1", "62.5", "33.3", "60.0", "6.7", "7.1"),
        *("tiny, seed 1", "doubtful"),
    ]
    assert second == ["tiny", "1", "40.0", "--", "33.3", "50.0", "16.7", "--", "--", "too weak"]
    numbers = rows_of(tmp_path / "r.csv")
    assert [(row["dev"], row["ood_dev"], row["lost"], row["verdict"]) for row in numbers] == [
        ("0.991", "0.625", "0.071", "doubtful"),
        ("0.4", "", "", "too weak"),
    ]


def test_outcomes(tmp_path):
    runs = [
        ("erm", "", 0, (0.9, 0.5, 0.4), 100.0),
        ("ftft_stop", "tiny", 0, (0.9, 0.45, 0.4), 100.0),
        ("ftft_stop", "minilm_l4", 0, (0.9, 0.6, 0.4), 100.0),
    ]
    summary = write_summary(tmp_path / "summary.parquet", runs)
    rows = [("tiny", 0.5, None, 0.2, None, "too weak"), ("minilm_l4", 0.991, 0.625, 0.071, 0.05, "doubtful")]
    names = ("reference", "dev", "ood_dev", "hard", "lost", "verdict")
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) | {"seed": 0} for row in rows], REFERENCES)
    write_table(table, tmp_path / "references.parquet", REFERENCES)
    arguments = summary, tmp_path / "references.parquet", "big", "accuracy", ["ftft_stop"]
    tables.write_outcomes(*arguments, tmp_path / "o.csv", tmp_path / "o.tex")
    assert lines_of(tmp_path / "o.tex") == [
        ["reference", "seed", "dev", "OOD dev", "hard", "lost", "verdict", r"ftft\_stop to ERM"],
        [r"minilm\_l4", "0", "99.1", "62.5", "7.1", "5.0", "doubtful", "+5.00"],
        ["tiny", "0", "50.0", "--", "20.0", "--", "too weak", "$-$2.50"],
    ]
    numbers = rows_of(tmp_path / "o.csv")
    assert [row["reference"] for row in numbers] == ["minilm_l4", "tiny"]
    assert float(numbers[0]["ftft_stop to ERM"]) == pytest.approx(0.05)
    assert numbers[1]["lost"] == ""


def written_all(tmp_path, references, folder):
    tables.write(
        [
            {"kind": "results", "main": "big", "stem": str(tmp_path / folder / "results-big")},
            {"kind": "references", "stem": str(tmp_path / folder / "references")},
        ],
        "accuracy",
        summary=write_summary(tmp_path / "summary.parquet", RUNS),
        comparison=write_comparison(tmp_path / "comparison.parquet", INTERVALS),
        references=references,
    )
    return sorted((tmp_path / folder).iterdir())


def test_every_table_in_both_forms_with_the_same_bytes_each_time(tmp_path, references):
    one, two = (written_all(tmp_path, references, folder) for folder in ("one", "two"))
    assert [path.name for path in one] == ["references.csv", "references.tex", "results-big.csv", "results-big.tex"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_latex_is_one_tabular_of_ascii_with_nothing_unescaped(tmp_path, references):
    for path in written_all(tmp_path, references, "tables"):
        if path.suffix == ".tex":
            text = path.read_text(encoding="ascii")
            comment, first, *lines = text.splitlines()
            assert comment.startswith("% ")
            (columns,) = re.findall(r"^\\begin\{tabular\}\{([lr]+)\}$", first)
            assert lines[-1] == r"\end{tabular}"
            assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
            body = [line for line in lines if line.endswith(r"\\")]
            assert [len(line.split(" & ")) for line in body] == [len(columns)] * 3
            for line in body:
                assert not re.search(r"(?<!\\)[%#_^~]", line)
                assert line.count("{") == line.count("}")
                assert line.count("$") % 2 == 0
                assert set(re.findall(r"\\([A-Za-z]+)", line)) <= {"textbf", "pm"}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path, references):
    names = [path.name for path in written_all(tmp_path, references, "tables") if path.suffix == ".tex"]
    inputs = "\n\n".join(rf"\input{{tables/{name}}}" for name in names)
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
