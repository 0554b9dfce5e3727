// @ts-check
// What happens when the page is opened. This part comes last.
"use strict";

async function start() {
  /** @type {NodeListOf<HTMLTableElement>} */
  const tables = document.querySelectorAll("table.sortable");
  tables.forEach(makeSortable);
  $("save-config").addEventListener("click", () => save("config.yaml", "text/yaml", $("config").textContent));
  document.head.append(element("script", await unpacked("plotly")));
  /** @type {Record<string, Chart>} */
  const charts = JSON.parse(await unpacked("charts"));
  /** @type {NodeListOf<HTMLElement>} */
  const places = document.querySelectorAll(".chart");
  places.forEach((place) => draw(place, charts[String(place.dataset.chart)]));
  /** @type {Explored | null} */
  const data = JSON.parse(await unpacked("explorer"));
  if (data) window.explorer = new Explorer(data);
  document.body.dataset.ready = "true";
}

start().catch((error) => {
  $("failure").hidden = false;
  $("failure").textContent = `The figures cannot be shown (${error.message}). They need a browser of 2023 or later.`;
  throw error;
});
