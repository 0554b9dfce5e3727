"""The page in a real browser: Chromium, from disk, without network."""

import csv
import json
import re
from pathlib import Path

import generated
import pandas as pd
import pytest

from ftft.core.artifacts import read_table
from ftft.display import explorer, webpage

EVIL = '<script>alert("first")</script> & <b>bold</b>'
ROWS = 600


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    generated.write(generated.experiment(seeds=2), folder, ROWS, text=EVIL)
    return folder


@pytest.fixture(scope="module")
def page_file(results) -> Path:
    arguments = generated.page_arguments(generated.experiment(seeds=2), results)
    webpage.write(**arguments)
    return arguments["output"]


def datamap(results, reference="small", seed=0) -> pd.DataFrame:
    """A data map with the columns of the train set."""
    table = read_table(results / f"datamap/{reference}/seed{seed}.parquet").to_pandas()
    return table.merge(read_table(results / "data/train.parquet").to_pandas(), on=["uid", "label"])


def counted(page) -> int:
    return int(page.inner_text("#status").split()[0].replace(",", ""))


def listed(page) -> list[str]:
    return page.locator("#list tbody th").all_inner_texts()


def test_every_figure_is_drawn(open_page, page_file):
    page = open_page(page_file)
    names = page.eval_on_selector_all(".chart", "charts => charts.map((chart) => chart.dataset.chart)")
    assert names == ["curves-large", "robustness-large", "transfer", "lineage"]
    assert page.locator(".plot .main-svg").count() >= len(names) + 2
    assert page.is_hidden("#failure")
    for chart in page.locator(".chart").all():
        for option in chart.locator("option").all():
            chart.locator("select").select_option(label=option.inner_text())
    title = "document.querySelector('[data-chart=\"curves-large\"] .plot').layout.xaxis.title.text"
    assert page.evaluate(title) == "training seconds, reference included (ERM = 100)"


def test_no_button_sends_anything_away(open_page, page_file):
    page = open_page(page_file)
    titles = set(page.eval_on_selector_all(".modebar-btn", "buttons => buttons.map((button) => button.dataset.title)"))
    assert {"Zoom", "Reset axes"} <= titles
    assert not [title for title in titles if re.search("share|cloud|edit", title, re.IGNORECASE)]


def test_hovering_a_point_shows_its_example(open_page, page_file, results):
    page = open_page(page_file)
    row = datamap(results).sort_values("variability").iloc[-1]
    page.locator("#scatter").scroll_into_view_if_needed()
    place = page.evaluate(
        """([x, y]) => {
            const plot = document.getElementById("scatter"), frame = plot.getBoundingClientRect();
            const { xaxis, yaxis } = plot._fullLayout;
            return [frame.left + xaxis._offset + xaxis.l2p(x), frame.top + yaxis._offset + yaxis.l2p(y)];
        }""",
        [row["variability"], row["confidence"]],
    )
    page.mouse.move(place[0] - 40, place[1] - 40)
    page.mouse.move(*place)
    page.wait_for_function("uid => document.querySelector('#example dd')?.textContent === uid", arg=row["uid"])
    text = page.inner_text("#example")
    assert row["text_a"] in text
    assert row["text_b"] in text
    assert generated.LABELS[row["label"]] in text
    assert page.locator("#example tbody tr").count() == generated.EPOCHS
    assert page.locator("#example .wrong").count() == round(generated.EPOCHS * (1 - row["correctness"]))


def test_filters_count_what_the_data_map_has(open_page, page_file, results):
    page = open_page(page_file)
    table = datamap(results)
    subset = read_table(results / "subset/small/ambiguous-0.33/seed0.parquet")["uid"].to_pylist()
    assert counted(page) == ROWS
    page.select_option("#region", label="ambiguous")
    chosen = table[table["region"] == "ambiguous"]
    assert counted(page) == len(chosen)
    page.select_option("#label", label="neutral")
    chosen = chosen[chosen["label"] == 1]
    assert counted(page) == len(chosen)
    page.select_option("#correctness", label="3 of 4 epochs")
    chosen = chosen[chosen["correctness"] == 0.75]
    assert counted(page) == len(chosen)
    page.select_option("#group", label="shortcut")
    chosen = chosen[chosen["kind"] == "shortcut"]
    assert counted(page) == len(chosen) > 0
    shown = page.evaluate("document.getElementById('scatter').data[1].x.length")
    assert shown == len(chosen)
    page.click("#reset")
    assert counted(page) == ROWS
    page.select_option("#selected", label="not by ambiguous 33 %")
    assert counted(page) == ROWS - len(subset)
    # Another data map has regions of its own.
    page.click("#reset")
    page.select_option("#map", label="tiny, seed 1")
    page.select_option("#region", label="hard-to-learn")
    assert counted(page) == (datamap(results, "tiny", 1)["region"] == "hard-to-learn").sum()


def test_search_finds_parts_of_texts_and_shows_markup_as_text(open_page, page_file, results):
    page = open_page(page_file)
    page.fill("#search", 'ALERT("first")')
    assert counted(page) == 1
    assert listed(page) == ["made-up-000000"]
    assert EVIL in page.inner_text("#list tbody td.text")
    page.click("#list tbody button")
    assert EVIL in page.inner_text("#example")
    page.fill("#search", "made-up-00001")
    assert sorted(listed(page)) == [f"made-up-00001{digit}" for digit in range(10)]
    page.fill("#search", "in no text")
    assert counted(page) == 0


def test_orders_and_the_exported_list(open_page, page_file, results):
    page = open_page(page_file)
    table = datamap(results).round({"variability": 4, "confidence": 4})
    for name, measure, ascending in (
        ("most ambiguous", "variability", False),
        ("hardest to learn", "confidence", True),
        ("easiest to learn", "confidence", False),
    ):
        page.check(f"text={name}")
        expected = table.sort_values(measure, ascending=ascending, kind="stable")["uid"]
        assert listed(page) == expected.head(20).to_list()
    page.click("#more")
    assert len(listed(page)) == 40

    page.check("text=likely label errors")
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "made-up-small-seed0-errors.csv"
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["uid"] for row in rows[:20]] == listed(page)
    assert page.inner_text("#listed") == f"20 of {len(rows)} shown."
    by_uid = table.set_index("uid")
    for row in rows:
        assert row["text_a"] == by_uid.loc[row["uid"], "text_a"]
        assert row["label"] == generated.LABELS[by_uid.loc[row["uid"], "label"]] != row["believed_label"]
        assert row["new_label"] == ""
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins, reverse=True)
    # What was made up as a wrong label is found, and is believed to be what it was made to look like.
    wrong = set(table.loc[table["kind"] == "wrong_label", "uid"])
    first = rows[: len(wrong) // 2]
    assert sum(row["uid"] in wrong for row in first) >= 0.9 * len(first)
    for row in first:
        if row["uid"] in wrong:
            gold = generated.LABELS.index(row["label"])
            assert row["believed_label"] == generated.LABELS[(gold + 1) % 3]


def test_no_cell_of_the_exported_list_is_a_formula(open_page, page_file):
    page = open_page(page_file)
    texts = ["=1+1", "+1 =2", "-a", "@SUM(1)", "\t=1", "\r=1", '=a,"b"', "-0.5", "+1", "-2e-3", "a=1", " =1", ""]
    script = """(texts) => {
        texts.forEach((text, i) => (explorer.data.examples.text_a[i] = text));
        explorer.data.labels[0] = "=label";
        explorer.list.listed = texts.map((_, i) => i);
    }"""
    page.evaluate(script, texts)
    with page.expect_download() as download:
        page.click("#export")
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text_a"] for row in rows] == [f"'{text}" for text in texts[:7]] + texts[7:]
    assert {row["label"] for row in rows} == {"'=label", *generated.LABELS[1:]}


def test_tables_are_sorted_by_mouse_and_keyboard(open_page, page_file):
    page = open_page(page_file)
    table = page.locator("table.sortable")
    column = table.locator("thead th").all_inner_texts().index("OOD mean")

    def scores() -> list[float]:
        cells = table.locator(f"tbody tr td:nth-child({column + 1})").all_inner_texts()
        return [float(re.match(r"[\d.]+", cell)[0]) for cell in cells]

    heading = table.locator("thead button").nth(column)
    heading.click()
    assert scores() == sorted(scores(), reverse=True)
    heading.focus()
    page.keyboard.press("Enter")
    assert scores() == sorted(scores())
    assert table.locator("thead th").nth(column).get_attribute("aria-sort") == "ascending"


def test_the_page_works_by_keyboard(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the results"
    page.keyboard.press("Enter")
    assert page.url.endswith("#results")
    page.focus("#region")
    page.keyboard.type("hard")
    assert page.input_value("#region") != ""
    page.locator("#list tbody button").nth(3).focus()
    page.keyboard.press("Enter")
    assert listed(page)[3] in page.inner_text("#example")
    # All that can be used has a name that can be read out.
    nameless = """() => [...document.querySelectorAll("select, input, button")]
        .filter((each) => each.offsetParent && !each.closest("label")?.innerText.trim())
        .filter((each) => !each.ariaLabel && !each.innerText.trim())
        .map((each) => each.outerHTML)"""
    assert page.evaluate(nameless) == []


def test_hidden_texts_show_at_a_click(open_page, results, tmp_path):
    arguments = generated.page_arguments(generated.experiment(seeds=2, blur_text=True), results)
    webpage.write(**arguments | {"output": tmp_path / "report.html"})
    page = open_page(tmp_path / "report.html")
    visible = page.inner_text("body")
    assert not [text for text in datamap(results)["text_a"] if text in visible]
    page.locator("#list tbody td.text button").first.click()
    uid = listed(page)[0]
    text = datamap(results).set_index("uid").loc[uid, "text_a"]
    assert text in page.locator("#list tbody td.text").first.inner_text()
    assert page.locator("#list tbody td.text button").count() == 19
    page.click("#reveal")
    assert page.locator("#list tbody td.text button").count() == 0


@pytest.mark.parametrize(("width", "scale"), [(390, 3), (640, 2)], ids=["phone", "200 % zoom"])
def test_it_fits_a_small_screen(open_page, page_file, width, scale):
    page = open_page(page_file, width=width, height=800, device_scale_factor=scale)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#scatter").bounding_box()["width"] > 0.85 * width
    sizes = page.evaluate("""() => [...document.querySelectorAll("p, td, th, label, select, button")]
        .filter((element) => element.offsetParent).map((element) => parseFloat(getComputedStyle(element).fontSize))""")
    assert min(sizes) >= 12


def test_of_many_examples_it_shows_the_density(open_page, results, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "MAX_EXAMPLES", 200)
    arguments = generated.page_arguments(generated.experiment(seeds=2), results)
    webpage.write(**arguments | {"output": tmp_path / "report.html"})
    page = open_page(tmp_path / "report.html")
    table = datamap(results)
    assert page.input_value("#drawn") == "density"
    assert page.inner_text("#status").startswith(
        "600 of 600 examples pass the filters. The page carries 200 of all 600"
    )
    page.select_option("#region", label="hard-to-learn")
    page.select_option("#group", label="wrong_label")
    chosen = table[(table["region"] == "hard-to-learn") & (table["kind"] == "wrong_label")]
    assert counted(page) == len(chosen)
    counts = json.loads(page.evaluate("JSON.stringify(document.getElementById('scatter').data[0].customdata)"))
    assert sum(cell[0] for row in counts for cell in row if cell) == len(chosen)
    bars = page.evaluate("document.getElementById('histograms').data[2].y")
    assert bars == [(chosen["correctness"] == count / 4).sum() for count in range(5)]
    page.select_option("#drawn", "points")
    assert 0 < page.evaluate("document.getElementById('scatter').data[1].x.length") < len(chosen)


def test_the_configuration_can_be_saved(open_page, page_file):
    page = open_page(page_file)
    with page.expect_download() as download:
        page.click("#save-config")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert "task: made-up" in text
    assert download.value.suggested_filename == "config.yaml"
