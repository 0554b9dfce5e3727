// @ts-check
// The filters, which the data map and the list of examples share.
"use strict";

const FILTERS = ["label", "region", "correctness", "selected", "group"];

/** The controls by which examples are chosen. */
class Filters {
  /**
   * @param {Explored} data
   * @param {() => void} changed called after each change
   */
  constructor(data, changed) {
    this.data = data;
    this.search = find("#search", HTMLInputElement);
    fillOptions(selectOf("label"), data.labels);
    fillOptions(selectOf("region"), data.regions);
    if (data.groups) {
      fillOptions(selectOf("group"), data.groups);
      $("group-label").hidden = false;
    }
    for (const id of [...FILTERS, "search"]) $(id).addEventListener("input", changed);
    $("reset").addEventListener("click", () => {
      for (const id of FILTERS) selectOf(id).value = "";
      this.search.value = "";
      changed();
    });
  }

  /**
   * Offer the epochs and subsets of another data map, as far as possible with the same choice.
   * @param {DataMap} map
   */
  offer({ epochs, subsets }) {
    const correctness = selectOf("correctness");
    const kept = correctness.value;
    fillOptions(correctness, Array.from({ length: epochs + 1 }, (_, count) => `${count} of ${epochs} epochs`));
    correctness.value = [...correctness.options].some(({ value }) => value === kept) ? kept : "";
    fillOptions(selectOf("selected"), subsets.flatMap((name) => [`by ${name}`, `not by ${name}`]));
  }

  /**
   * What passes. Texts are searched in the examples carried; all else is counted over all examples.
   * @param {DataMap} map
   * @param {Texts} texts
   * @returns {View}
   */
  view(map, texts) {
    const { data } = this;
    const { label, group } = data.examples;
    const passes = this.test({ ...map, label, group });
    const wanted = this.search.value.trim().toLowerCase();
    const found = [...texts.all.keys()].filter((i) => passes(i) && (!wanted || texts.lower[i].includes(wanted)));
    const cells = wanted ? null : map.cells;
    const rows = cells ? cells.count.map((_, i) => i).filter(this.test(cells)) : found;
    return { data, map, found, cells, rows };
  }

  /**
   * A test of row i of columns, by all but the search.
   * @param {Filtered} columns
   * @returns {(i: number) => boolean}
   */
  test({ label, group, correctness, region, selected }) {
    /** @type {[string, number[] | null][]} */
    const columns = [["label", label], ["region", region], ["correctness", correctness]];
    if (this.data.groups) columns.push(["group", group]);
    /** @type {((i: number) => boolean)[]} */
    const tests = [];
    for (const [id, column] of columns) {
      const choice = selectOf(id).value;
      if (choice !== "" && column) tests.push((i) => column[i] === Number(choice));
    }
    const choice = selectOf("selected").value;
    if (choice !== "") {
      // Two choices for each subset: in it, and not in it.
      const bit = 1 << Math.floor(Number(choice) / 2);
      const wanted = Number(choice) % 2 === 0;
      tests.push((i) => ((selected[i] & bit) !== 0) === wanted);
    }
    return (i) => tests.every((test) => test(i));
  }
}

/**
 * How many examples pass, in words.
 * @param {View} view
 */
function statusOf({ data, map, cells, rows }) {
  /** @param {number} count */
  const written = (count) => count.toLocaleString("en");
  const carried = data.examples.uid.length;
  const passed = cells ? rows.reduce((sum, i) => sum + cells.count[i], 0) : rows.length;
  const all = map.cells && !cells ? `${written(carried)} on this page` : written(data.total);
  const status = `${written(passed)} of ${all} examples pass the filters.`;
  if (!map.cells) return status;
  return (
    `${status} The page carries ${written(carried)} of all ${written(data.total)}: the first ${written(data.top)} of ` +
    "each order below for each data map, and a random sample. Points and search are about those."
  );
}
