// The page's interaction: sortable tables, figures, the data map with its filters, and the list of examples.
"use strict";

const $ = (id) => document.getElementById(id);

/** An element with text (never markup) and attributes. */
function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** What `_packed` in webpage.py made of a text. */
async function unpacked(name) {
  const bytes = Uint8Array.from(atob($(`packed-${name}`).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function save(name, type, text) {
  const link = element("a", "", { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// --- tables

function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
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

/** By number where cells have one, else by text; what has no value comes last either way. */
function compare(one, other, descending) {
  const sign = descending ? -1 : 1;
  if (!("key" in one.dataset)) return sign * one.textContent.localeCompare(other.textContent);
  const keys = [one.dataset.key, other.dataset.key];
  if (keys.includes("")) return (keys[0] === "") - (keys[1] === "");
  return sign * (Number(keys[0]) - Number(keys[1]));
}

// --- figures

// Without the button that uploads a figure, and its data, to the maker of the library.
const PLOT = {
  responsive: true,
  displaylogo: false,
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};

const NARROW = 700;

function draw(chart, { figure, variants }) {
  const plot = chart.querySelector(".plot");
  const narrow = plot.clientWidth < NARROW;
  // On a phone the legend goes below, where it takes height instead of width.
  const height = figure.layout.height + (narrow ? 24 * figure.data.length : 0);
  Object.assign(figure.layout, { height, ...(narrow ? { legend: { orientation: "h", y: -0.2, yanchor: "top" } } : {}) });
  plot.style.height = `${height}px`;
  Plotly.newPlot(plot, figure.data, figure.layout, PLOT);
  chart.querySelector("select")?.addEventListener("change", (event) => {
    const { x, z, title } = variants[event.target.value];
    Plotly.update(plot, x ? { x } : { z: [z] }, x ? { "xaxis.title.text": title } : {});
  });
}

// --- data map

// viridis without its light end, which is faint on white
const COLOURS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58"];
const SCALE = COLOURS.map((colour, index) => [index / (COLOURS.length - 1), colour]);
const GREYS = [[0, "#eef1f4"], [1, "#1c2330"]];
const FONT = { size: 14, color: "#1c2330", family: "system-ui, sans-serif" };
const MARGIN = { l: 60, r: 15, t: 15, b: 60 };
const BINS = 25;
const PAGE = 20;
// More points than this are drawn by the graphics card, where there is one.
const MANY = 2_000;
const hasWebGl = () => Boolean(element("canvas").getContext("webgl"));

/** The data map and the list of examples, which share the filters. */
class Explorer {
  constructor(data) {
    Object.assign(this, data);
    this.texts = this.examples.text_a.map((text, i) => (this.examples.text_b ? `${text}\n${this.examples.text_b[i]}` : text));
    this.lower = this.texts.map((text, i) => `${text}\n${this.examples.uid[i]}`.toLowerCase());
    this.veiled = document.body.dataset.blur === "true";
    this.chosen = null;
    this.shown = PAGE;
    this.kind = this.texts.length > MANY && hasWebGl() ? "scattergl" : "scatter";
    this.fillControls();
    this.listen();
    this.choose(0);
  }

  get map() {
    return this.maps[$("map").value];
  }

  // controls

  fillControls() {
    this.maps.forEach((map, i) => $("map").append(new Option(`${map.reference}, seed ${map.seed}`, i)));
    options($("label"), this.labels);
    options($("region"), this.regions);
    if (this.groups) {
      options($("group"), this.groups);
      $("group-label").hidden = false;
    }
  }

  listen() {
    $("map").addEventListener("change", (event) => this.choose(event.target.value));
    for (const id of ["label", "region", "correctness", "selected", "group", "search", "drawn"]) {
      $(id).addEventListener("input", () => this.filter());
    }
    $("reset").addEventListener("click", () => {
      for (const id of ["label", "region", "correctness", "selected", "group", "search"]) $(id).value = "";
      this.filter();
    });
    $("lists").addEventListener("change", () => this.list());
    $("more").addEventListener("click", () => {
      this.shown += PAGE;
      this.fillList();
    });
    $("export").addEventListener("click", () => this.export());
    $("reveal")?.addEventListener("click", () => {
      this.veiled = false;
      $("reveal").remove();
      this.filter();
      if (this.chosen !== null) this.show(this.chosen);
    });
  }

  /** Another data map: its own epochs and subsets to filter by, as far as possible with the same choice. */
  choose(number) {
    $("map").value = number;
    const kept = $("correctness").value;
    const { epochs, subsets, cells } = this.map;
    options($("correctness"), Array.from({ length: epochs + 1 }, (_, count) => `${count} of ${epochs} epochs`));
    $("correctness").value = [...$("correctness").options].some(({ value }) => value === kept) ? kept : "";
    options($("selected"), subsets.flatMap((name) => [`by ${name}`, `not by ${name}`]));
    $("drawn").value = cells ? "density" : "points";
    this.filter();
    if (this.chosen !== null) this.show(this.chosen);
  }

  // filters

  /** A test of row i of columns (of the examples carried, or of cells), by all but the search. */
  passes({ label, group, correctness, region, selected }) {
    const equal = [[label, "label"], [region, "region"], [correctness, "correctness"], ...(this.groups ? [[group, "group"]] : [])]
      .filter(([, id]) => $(id).value !== "")
      .map(([column, id]) => [column, Number($(id).value)]);
    const choice = $("selected").value;
    const bit = 1 << Math.floor(choice / 2);
    const wanted = choice % 2 === 0;
    return (i) =>
      equal.every(([column, value]) => column[i] === value) && (choice === "" || ((selected[i] & bit) !== 0) === wanted);
  }

  filter() {
    const map = this.map;
    const passes = this.passes({ ...map, label: this.examples.label, group: this.examples.group });
    const wanted = $("search").value.trim().toLowerCase();
    this.found = [...this.texts.keys()].filter((i) => passes(i) && (!wanted || this.lower[i].includes(wanted)));

    // Texts are searched in the examples carried; all else is counted over all examples.
    const cells = wanted ? null : map.cells;
    const rows = cells ? cells.count.map((_, i) => i).filter(this.passes(cells)) : this.found;
    const total = cells ? rows.reduce((sum, i) => sum + cells.count[i], 0) : rows.length;
    const all = map.cells && !cells ? `${this.texts.length.toLocaleString("en")} on this page` : this.total.toLocaleString("en");
    $("status").textContent =
      `${total.toLocaleString("en")} of ${all} examples pass the filters.` +
      (map.cells
        ? ` The page carries ${this.texts.length.toLocaleString("en")} of all ${this.total.toLocaleString("en")}: the ` +
          `first ${this.top.toLocaleString("en")} of each order below for each data map, and a random sample. Points and search are about those.`
        : "");
    this.drawMap(cells, rows);
    this.drawHistograms(cells, rows);
    this.list();
  }

  // figures

  drawMap(cells, rows) {
    const { map, parts } = this;
    const width = map.width / parts;
    const binned = $("drawn").value !== "points";
    const points = binned ? [] : this.found;
    const snippet = (i) => (this.veiled ? this.examples.uid[i] : clipped(this.texts[i], 90));
    const traces = [
      binned ? this.binned(cells, rows) : { type: "heatmap", z: [[null]], showscale: false, hoverinfo: "skip" },
      {
        type: this.kind,
        mode: "markers",
        x: points.map((i) => map.variability[i] / parts),
        y: points.map((i) => map.confidence[i] / parts),
        customdata: points,
        text: points.map((i) => `${safe(snippet(i))}<br>gold label ${safe(this.labels[this.examples.label[i]])}, believed ${safe(this.labels[map.believed[i]])}`),
        hovertemplate: "%{text}<extra></extra>",
        marker: {
          color: points.map((i) => map.correctness[i] / map.epochs),
          colorscale: SCALE,
          cmin: 0,
          cmax: 1,
          size: Math.max(3, Math.min(9, 400 / Math.sqrt(points.length))),
          opacity: 0.75,
          showscale: !binned,
          colorbar: { title: { text: "correctness", side: "right" }, thickness: 12 },
        },
      },
      this.ring(),
    ];
    Plotly.react(
      $("scatter"),
      traces,
      {
        font: FONT,
        margin: MARGIN,
        showlegend: false,
        hovermode: "closest",
        hoverlabel: { align: "left" },
        paper_bgcolor: "#ffffff",
        plot_bgcolor: "#ffffff",
        uirevision: $("map").value,
        xaxis: { title: { text: "variability", standoff: 10 }, range: [-0.02 * width, 1.02 * width], zeroline: false, gridcolor: "#e3e6ea", automargin: true },
        yaxis: { title: { text: "confidence", standoff: 10 }, range: [-0.02, 1.02], zeroline: false, gridcolor: "#e3e6ea" },
        ...this.regionMarks(),
      },
      PLOT,
    );
    if (!this.hovering) {
      this.hovering = true;
      const show = ({ points: [point] }) => point.customdata !== undefined && point.curveNumber === 1 && this.show(point.customdata);
      $("scatter").on("plotly_hover", show);
      $("scatter").on("plotly_click", show);
    }
  }

  /** Counts of examples on a grid, or their mean correctness, as a heat map. */
  binned(cells, rows) {
    const { map, grid, parts } = this;
    const zeros = () => Array.from({ length: grid }, () => new Array(grid).fill(0));
    const [counts, right] = [zeros(), zeros()];
    for (const i of rows) {
      const y = cells ? cells.y[i] : inGrid(map.confidence[i], parts, grid);
      const x = cells ? cells.x[i] : inGrid(map.variability[i], map.width, grid);
      const count = cells ? cells.count[i] : 1;
      counts[y][x] += count;
      right[y][x] += (count * (cells ?? map).correctness[i]) / map.epochs;
    }
    const middles = (width) => Array.from({ length: grid }, (_, i) => ((i + 0.5) * width) / grid);
    const inCells = (value) => counts.map((row, y) => row.map((count, x) => (count ? value(count, right[y][x]) : null)));
    const common = { type: "heatmap", x: middles(map.width / parts), y: middles(1), customdata: inCells((count, of) => [count, of / count]) };
    common.hovertemplate = "%{customdata[0]:,} examples, mean correctness %{customdata[1]:.2f}<extra></extra>";
    if ($("drawn").value === "correctness") {
      const colorbar = { title: { text: "mean correctness", side: "right" }, thickness: 12 };
      return { ...common, z: inCells((count, of) => of / count), colorscale: SCALE, zmin: 0, zmax: 1, colorbar };
    }
    const most = Math.max(1, ...counts.flat());
    const ticks = [1, 10, 100, 1_000, 10_000, 100_000].filter((count) => count <= most);
    const colorbar = { title: { text: "examples", side: "right" }, thickness: 12, tickvals: ticks.map(Math.log10), ticktext: ticks.map(String) };
    return { ...common, z: inCells(Math.log10), colorscale: GREYS, zmin: 0, zmax: Math.max(1, Math.log10(most)), colorbar };
  }

  /** The boundaries of the regions and their names. */
  regionMarks() {
    const { map, parts, regions } = this;
    const ambiguous = regions.indexOf("ambiguous");
    const width = map.width / parts;
    const inside = map.variability.filter((_, i) => map.region[i] === ambiguous);
    const start = inside.length ? inside.reduce((least, value) => Math.min(least, value), Infinity) / parts : width;
    const line = { color: "#555555", width: 1, dash: "dash" };
    // Each beside its boundary, where there are few points.
    const name = (text, x, y, yanchor) => ({ text, x, y, yanchor, xanchor: "left", showarrow: false, bgcolor: "rgba(255,255,255,.7)" });
    return {
      shapes: [
        { type: "line", x0: start, x1: start, y0: 0, y1: 1, yref: "paper", line },
        { type: "line", x0: 0, x1: start, y0: 0.5, y1: 0.5, line },
      ],
      annotations: [
        name("easy-to-learn", 0, 0.5, "bottom"),
        name("hard-to-learn", 0, 0.5, "top"),
        name("ambiguous", start, 1.02, "top"),
      ],
    };
  }

  /** A ring around the example that is shown. */
  ring() {
    const { map, parts, chosen } = this;
    return {
      type: this.kind,
      mode: "markers",
      x: chosen === null ? [] : [map.variability[chosen] / parts],
      y: chosen === null ? [] : [map.confidence[chosen] / parts],
      hoverinfo: "skip",
      marker: { size: 18, color: "rgba(0,0,0,0)", line: { color: "#D55E00", width: 3 } },
    };
  }

  drawHistograms(cells, rows) {
    const { map, parts } = this;
    const counts = {
      confidence: new Array(BINS).fill(0),
      variability: new Array(BINS).fill(0),
      correctness: new Array(map.epochs + 1).fill(0),
    };
    const perBin = this.grid / BINS;
    for (const i of rows) {
      const count = cells ? cells.count[i] : 1;
      counts.confidence[cells ? Math.floor(cells.y[i] / perBin) : inGrid(map.confidence[i], parts, BINS)] += count;
      counts.variability[cells ? Math.floor(cells.x[i] / perBin) : inGrid(map.variability[i], map.width, BINS)] += count;
      counts.correctness[(cells ?? map).correctness[i]] += count;
    }
    const places = {
      confidence: counts.confidence.map((_, i) => (i + 0.5) / BINS),
      variability: counts.variability.map((_, i) => ((i + 0.5) * map.width) / parts / BINS),
      correctness: counts.correctness.map((_, i) => i / map.epochs),
    };
    const names = Object.keys(counts);
    const layout = {
      font: FONT, margin: { ...MARGIN, l: 50 }, showlegend: false, bargap: 0.05, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff",
      grid: { rows: 3, columns: 1, pattern: "independent", ygap: 0.45 },
    };
    names.forEach((name, i) => {
      const number = i ? i + 1 : "";
      layout[`xaxis${number}`] = { title: { text: name, standoff: 4 }, zeroline: false, automargin: true };
      layout[`yaxis${number}`] = { gridcolor: "#e3e6ea", nticks: 4 };
    });
    const traces = names.map((name, i) => ({
      type: "bar",
      x: places[name],
      y: counts[name],
      xaxis: `x${i ? i + 1 : ""}`,
      yaxis: `y${i ? i + 1 : ""}`,
      marker: { color: name === "correctness" ? places[name].map((share) => COLOURS[Math.round(share * (COLOURS.length - 1))]) : "#7d8794" },
      hovertemplate: `${name} %{x:.2f}: %{y:,} examples<extra></extra>`,
    }));
    Plotly.react($("histograms"), traces, layout, PLOT);
  }

  // one example

  /** A text, or where texts are hidden, a button that shows it. */
  textOf(text) {
    const holder = element("span", this.veiled ? "" : text);
    if (this.veiled) {
      const button = element("button", "Show text", { type: "button", class: "action" });
      button.addEventListener("click", () => holder.replaceChildren(text));
      holder.append(button);
    }
    return holder;
  }

  show(i) {
    this.chosen = i;
    const { map, parts, examples } = this;
    const facts = element("dl");
    const add = (name, value) => {
      const cell = element("dd");
      cell.append(value);
      facts.append(element("dt", name), cell);
    };
    add("example", examples.uid[i]);
    add(examples.text_b ? "first text" : "text", this.textOf(examples.text_a[i]));
    if (examples.text_b) add("second text", this.textOf(examples.text_b[i]));
    add("gold label", this.labels[examples.label[i]]);
    if (this.groups) add($("group-label").firstChild.textContent.trim(), this.groups[examples.group[i]]);
    add("region", this.regions[map.region[i]]);
    add("confidence", (map.confidence[i] / parts).toFixed(3));
    add("variability", (map.variability[i] / parts).toFixed(3));
    const by = map.subsets.filter((_, bit) => (map.selected[i] >> bit) & 1);
    add("selected", map.subsets.length ? by.join(", ") || "no" : "no subset is selected from this data map");
    const table = element("table", "", { class: "epochs" });
    const head = table.createTHead().insertRow();
    for (const name of ["epoch", "predicted", "probability of the gold label"]) head.append(element("th", name, { scope: "col", class: "name" }));
    const body = table.createTBody();
    for (let epoch = 0; epoch < map.epochs; epoch += 1) {
      const row = body.insertRow();
      const predicted = map.predicted[epoch][i];
      row.append(element("td", String(epoch + map.first_epoch + 1)));
      const right = predicted === examples.label[i];
      row.append(element("td", this.labels[predicted] + (right ? "" : " \u2717"), { class: right ? "name" : "name wrong" }));
      const cell = element("td", "", { class: "name" });
      cell.append(element("span", "", { class: "bar", style: `width: ${map.gold[epoch][i] / 12.5}em` }), ` ${map.gold[epoch][i]} %`);
      row.append(cell);
    }
    $("example").replaceChildren(facts, table);
    const { x, y } = this.ring();
    Plotly.restyle($("scatter"), { x: [x], y: [y] }, [2]);
  }

  // the list

  list() {
    this.shown = PAGE;
    const { map } = this;
    const order = document.querySelector('input[name="list"]:checked').value;
    const rank = {
      ambiguous: (i) => -map.variability[i],
      hard: (i) => map.confidence[i],
      easy: (i) => -map.confidence[i],
      errors: (i) => -map.doubt[i],
    }[order];
    const found = order === "errors" ? this.found.filter((i) => map.doubt[i] > 0) : this.found;
    this.order = order;
    this.listed = found.map((i) => [rank(i), i]).sort(([a, i], [b, j]) => a - b || i - j).map(([, i]) => i);
    this.fillList();
  }

  fillList() {
    const { map, parts } = this;
    const shown = this.listed.slice(0, this.shown);
    $("listed").textContent = `${shown.length.toLocaleString("en")} of ${this.listed.length.toLocaleString("en")} shown.`;
    $("more").hidden = shown.length === this.listed.length;
    $("list").tBodies[0].replaceChildren(
      ...shown.map((i) => {
        const row = element("tr");
        const name = element("th", "", { scope: "row", class: "name" });
        const button = element("button", this.examples.uid[i], { type: "button", class: "action", "aria-label": `show example ${this.examples.uid[i]}` });
        button.addEventListener("click", () => {
          this.show(i);
          $("example").scrollIntoView({ block: "nearest" });
        });
        name.append(button);
        const text = element("td", "", { class: "text" });
        text.append(this.textOf(clipped(this.texts[i], 400)));
        row.append(name, text, element("td", this.labels[this.examples.label[i]], { class: "name" }));
        row.append(element("td", this.labels[map.believed[i]], { class: map.believed[i] === this.examples.label[i] ? "name" : "name wrong" }));
        for (const value of [map.confidence[i] / parts, map.variability[i] / parts, map.correctness[i] / map.epochs]) {
          row.append(element("td", value.toFixed(3)));
        }
        return row;
      }),
    );
  }

  export() {
    const { map, parts, examples, labels } = this;
    const columns = {
      uid: (i) => examples.uid[i],
      text_a: (i) => examples.text_a[i],
      ...(examples.text_b ? { text_b: (i) => examples.text_b[i] } : {}),
      label: (i) => labels[examples.label[i]],
      believed_label: (i) => labels[map.believed[i]],
      margin: (i) => (map.doubt[i] / parts).toFixed(4),
      confidence: (i) => (map.confidence[i] / parts).toFixed(4),
      variability: (i) => (map.variability[i] / parts).toFixed(4),
      correctness: (i) => (map.correctness[i] / map.epochs).toFixed(4),
      region: (i) => this.regions[map.region[i]],
      new_label: () => "",
    };
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const cells = (i) => Object.values(columns).map((column) => quoted(harmless(column(i))));
    const lines = [Object.keys(columns), ...this.listed.map(cells)];
    const name = `${document.body.dataset.task}-${map.reference}-seed${map.seed}-${this.order}.csv`;
    save(name, "text/csv", lines.map((line) => `${line.join(",")}\r\n`).join(""));
  }
}

/** The choices of a filter: any, or one of the names by its number. */
function options(select, names) {
  select.replaceChildren(new Option("any", ""), ...names.map((name, value) => new Option(name, value)));
}

/** A cell of a CSV file as spreadsheets only show it; as `harmless` in summary.py. */
const harmless = (text) => (/^(?![+-]?\d+(\.\d+)?(e[+-]?\d+)?$)[=+\-@\t\r\n]/i.test(text) ? `'${text}` : text);
const inGrid = (value, width, cells) => Math.min(Math.floor((cells * value) / width), cells - 1);
const clipped = (text, length) => (text.length > length ? `${text.slice(0, length)} \u2026` : text);
/** A text for a figure, which takes some markup. */
const safe = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\n", "<br>");

// --- start

async function start() {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  $("save-config").addEventListener("click", () => save("config.yaml", "text/yaml", $("config").textContent));
  document.head.append(element("script", await unpacked("plotly")));
  const charts = JSON.parse(await unpacked("charts"));
  document.querySelectorAll(".chart").forEach((chart) => draw(chart, charts[chart.dataset.chart]));
  const data = JSON.parse(await unpacked("explorer"));
  if (data) window.explorer = new Explorer(data);
  document.body.dataset.ready = "true";
}

start().catch((error) => {
  $("failure").hidden = false;
  $("failure").textContent = `The figures cannot be shown (${error.message}). They need a browser of 2023 or later.`;
  throw error;
});
