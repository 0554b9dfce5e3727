// @ts-check
// Tables that are sorted by a click on a heading.
"use strict";

/** @param {HTMLTableElement} table */
function makeSortable(table) {
  const headings = [...find("thead tr", HTMLTableRowElement, table).cells];
  headings.forEach((heading, column) => {
    const button = element("button", heading.textContent, { type: "button" });
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") !== "descending";
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((one, other) => compare(one.cells[column], other.cells[column], descending)));
    });
  });
}

/**
 * By number where cells have one, else by text; what has no value comes last either way.
 * @param {HTMLTableCellElement} one
 * @param {HTMLTableCellElement} other
 * @param {boolean} descending
 */
function compare(one, other, descending) {
  const sign = descending ? -1 : 1;
  const [first, second] = [one.dataset.key, other.dataset.key];
  if (first === undefined || second === undefined) return sign * one.textContent.localeCompare(other.textContent);
  if (first === "" || second === "") return Number(first === "") - Number(second === "");
  return sign * (Number(first) - Number(second));
}
