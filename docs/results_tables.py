"""Write the tables of results into the pages of docs/results, each from the CSV file of its name.

    python docs/results_tables.py            # after a change of a CSV file
    python docs/results_tables.py --check    # fails if a page does not hold what its CSV file says

On a page, the table of NAME.csv stands between `<!-- table: NAME -->` and `<!-- end -->`. Cells are Markdown, as shown.
"""

import argparse
import csv
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "results"
# Where the end is missing, no table is found: what stands before the next one is text.
TABLE = re.compile(r"<!-- table: (\S+) -->\n(?:(?!<!-- table: ).)*?<!-- end -->", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where pages and CSV files lie")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if something would be written")
    arguments = parser.parse_args()
    wrong = bring_up_to_date(arguments.folder, arguments.check)
    if wrong:
        sys.exit("\n".join(wrong))


def bring_up_to_date(folder: Path, check: bool) -> list[str]:
    """Write the pages of a folder again, or only compare them; returns a line for each file that is not in order."""
    files = {file.stem: file for file in sorted(folder.glob("*.csv"))}
    wrong, shown = [], set()
    for page in sorted(folder.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        names = TABLE.findall(text)
        shown.update(names)
        missing = [name for name in names if name not in files]
        if missing:
            wrong.append(f"{page}: there is no {missing[0]}.csv beside it")
            continue
        new = TABLE.sub(lambda found: block(files[found[1]]), text)
        if new != text and check:
            wrong.append(f"{page}: a table is not what its CSV file says; run: python docs/results_tables.py")
        elif new != text:
            page.write_text(new, encoding="utf-8")
    return wrong + [
        f"{file}: no page has a table between <!-- table: {name} --> and <!-- end -->"
        for name, file in files.items()
        if name not in shown
    ]


def block(file: Path) -> str:
    """A table in Markdown, with the comments around it."""
    with file.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    for row in rows:
        if len(row) != len(header):
            sys.exit(f"{file}: {len(header)} columns, but {len(row)} cells in: {', '.join(row)}")
    table = [header, ["---"] * len(header), *rows]
    text = "\n".join("|" + "|".join(cell if cell == "---" else f" {cell} " for cell in row) + "|" for row in table)
    return f"<!-- table: {file.stem} -->\n\n{text}\n\n<!-- end -->"


if __name__ == "__main__":
    main()
