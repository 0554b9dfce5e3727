// @ts-check
// One example: its texts, its labels, its place in the data map, and what was predicted at each epoch.
"use strict";

/**
 * @param {Explored} data
 * @param {DataMap} map
 * @param {number} i
 * @param {Texts} texts
 */
function factsOf({ examples, labels, regions, groups, parts }, map, i, texts) {
  const facts = element("dl");
  /**
   * @param {string} name
   * @param {string | Node} value
   */
  const add = (name, value) => {
    const cell = element("dd");
    cell.append(value);
    facts.append(element("dt", name), cell);
  };
  add("example", examples.uid[i]);
  add(examples.text_b ? "first text" : "text", texts.shown(examples.text_a[i]));
  if (examples.text_b) add("second text", texts.shown(examples.text_b[i]));
  add("gold label", labels[examples.label[i]]);
  if (groups && examples.group) add(String($("group-label").firstChild?.textContent).trim(), groups[examples.group[i]]);
  add("region", regions[map.region[i]]);
  add("confidence", (map.confidence[i] / parts).toFixed(3));
  add("variability", (map.variability[i] / parts).toFixed(3));
  const by = map.subsets.filter((_, bit) => (map.selected[i] >> bit) & 1);
  add("selected", map.subsets.length ? by.join(", ") || "no" : "no subset is selected from this data map");
  return facts;
}

/**
 * @param {Explored} data
 * @param {DataMap} map
 * @param {number} i
 */
function epochsOf({ examples, labels }, map, i) {
  const table = element("table", "", { class: "epochs" });
  const head = table.createTHead().insertRow();
  for (const name of ["epoch", "predicted", "probability of the gold label"]) {
    head.append(element("th", name, { scope: "col", class: "name" }));
  }
  const body = table.createTBody();
  for (let epoch = 0; epoch < map.epochs; epoch += 1) {
    const [predicted, gold] = [map.predicted[epoch][i], map.gold[epoch][i]];
    const right = predicted === examples.label[i];
    const share = element("td", "", { class: "name" });
    share.append(element("span", "", { class: "bar", style: `width: ${gold / 12.5}em` }), ` ${gold} %`);
    body.insertRow().append(
      element("td", String(epoch + map.first_epoch + 1)),
      element("td", labels[predicted] + (right ? "" : " \u2717"), { class: right ? "name" : "name wrong" }),
      share,
    );
  }
  return table;
}
