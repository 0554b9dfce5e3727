// @ts-check
// The list of examples that pass the filters, in one of four orders.
"use strict";

const PAGE = 20;

/**
 * What comes first in each order: the lowest.
 * @type {Record<string, (map: DataMap, i: number) => number>}
 */
const ORDERS = {
  ambiguous: (map, i) => -map.variability[i],
  hard: (map, i) => map.confidence[i],
  easy: (map, i) => -map.confidence[i],
  errors: (map, i) => -map.doubt[i],
};

/** The list below the data map, of which some examples show and all can be saved. */
class List {
  /**
   * @param {Explored} data
   * @param {Texts} texts
   * @param {(i: number) => void} show shows an example
   */
  constructor(data, texts, show) {
    this.data = data;
    this.texts = texts;
    this.show = show;
    this.map = data.maps[0];
    this.order = "";
    /** @type {number[]} */
    this.listed = [];
    this.length = PAGE;
    $("more").addEventListener("click", () => {
      this.length += PAGE;
      this.fill();
    });
    $("export").addEventListener("click", () => this.save());
  }

  /**
   * Begin anew, with what passes the filters.
   * @param {View} view
   */
  begin({ map, found }) {
    this.map = map;
    this.order = find('input[name="list"]:checked', HTMLInputElement).value;
    this.listed = ordered(map, found, this.order);
    this.length = PAGE;
    this.fill();
  }

  fill() {
    const shown = this.listed.slice(0, this.length);
    const [some, all] = [shown.length.toLocaleString("en"), this.listed.length.toLocaleString("en")];
    $("listed").textContent = `${some} of ${all} shown.`;
    $("more").hidden = shown.length === this.listed.length;
    find("#list tbody", HTMLTableSectionElement).replaceChildren(...shown.map((i) => this.row(i)));
  }

  /** @param {number} i */
  row(i) {
    const { map, texts } = this;
    const { examples, labels, parts } = this.data;
    const uid = examples.uid[i];
    const button = element("button", uid, { type: "button", class: "action", "aria-label": `show example ${uid}` });
    button.addEventListener("click", () => {
      this.show(i);
      $("example").scrollIntoView({ block: "nearest" });
    });
    const name = element("th", "", { scope: "row", class: "name" });
    name.append(button);
    const text = element("td", "", { class: "text" });
    text.append(texts.shown(clipped(texts.all[i], 400)));
    const [gold, believed] = [examples.label[i], map.believed[i]];
    const numbers = [map.confidence[i] / parts, map.variability[i] / parts, map.correctness[i] / map.epochs];
    const row = element("tr");
    row.append(
      name,
      text,
      element("td", labels[gold], { class: "name" }),
      element("td", labels[believed], { class: believed === gold ? "name" : "name wrong" }),
      ...numbers.map((value) => element("td", value.toFixed(3))),
    );
    return row;
  }

  save() {
    const { reference, seed } = this.map;
    const name = `${document.body.dataset.task}-${reference}-seed${seed}-${this.order}.csv`;
    save(name, "text/csv", csv(tableOf(this.data, this.map, this.listed)));
  }
}

/**
 * Examples in an order, ties by their number; likely label errors are those alone that are doubted.
 * @param {DataMap} map
 * @param {number[]} found
 * @param {string} order
 */
function ordered(map, found, order) {
  const rank = ORDERS[order];
  return found
    .filter((i) => order !== "errors" || map.doubt[i] > 0)
    .map((i) => [rank(map, i), i])
    .sort(([a, i], [b, j]) => a - b || i - j)
    .map(([, i]) => i);
}

/**
 * Examples as a table to save, the names of its columns first; `new_label` is for whoever relabels.
 * @param {Explored} data
 * @param {DataMap} map
 * @param {number[]} listed
 */
function tableOf({ examples, labels, regions, parts }, map, listed) {
  const { text_b } = examples;
  /** @type {Record<string, (i: number) => string>} */
  const columns = {
    uid: (i) => examples.uid[i],
    text_a: (i) => examples.text_a[i],
    ...(text_b ? { text_b: (i) => text_b[i] } : {}),
    label: (i) => labels[examples.label[i]],
    believed_label: (i) => labels[map.believed[i]],
    margin: (i) => (map.doubt[i] / parts).toFixed(4),
    confidence: (i) => (map.confidence[i] / parts).toFixed(4),
    variability: (i) => (map.variability[i] / parts).toFixed(4),
    correctness: (i) => (map.correctness[i] / map.epochs).toFixed(4),
    region: (i) => regions[map.region[i]],
    new_label: () => "",
  };
  return [Object.keys(columns), ...listed.map((i) => Object.values(columns).map((column) => column(i)))];
}
