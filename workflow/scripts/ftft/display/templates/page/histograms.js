// @ts-check
// How the measures are distributed over the examples that pass the filters.
"use strict";

const BINS = 25;

/**
 * A histogram: the middles of its bins, how many examples are in each, and colours.
 * @typedef {{ name: string, middles: number[], counts: number[], color: string | string[] }} Histogram
 */

/**
 * @param {View} view
 * @returns {Histogram[]}
 */
function histogramsOf({ data: { parts, grid }, map, cells, rows }) {
  /** @type {number[]} */
  const confidence = new Array(BINS).fill(0);
  /** @type {number[]} */
  const variability = new Array(BINS).fill(0);
  /** @type {number[]} */
  const correctness = new Array(map.epochs + 1).fill(0);
  const perBin = grid / BINS;
  for (const i of rows) {
    const count = cells ? cells.count[i] : 1;
    confidence[cells ? Math.floor(cells.y[i] / perBin) : inGrid(map.confidence[i], parts, BINS)] += count;
    variability[cells ? Math.floor(cells.x[i] / perBin) : inGrid(map.variability[i], map.width, BINS)] += count;
    correctness[(cells ?? map).correctness[i]] += count;
  }
  const grey = "#7d8794";
  const shares = correctness.map((_, i) => i / map.epochs);
  const variabilities = variability.map((_, i) => ((i + 0.5) * map.width) / parts / BINS);
  return [
    { name: "confidence", middles: confidence.map((_, i) => (i + 0.5) / BINS), counts: confidence, color: grey },
    { name: "variability", middles: variabilities, counts: variability, color: grey },
    {
      name: "correctness",
      middles: shares,
      counts: correctness,
      color: shares.map((share) => COLOURS[Math.round(share * (COLOURS.length - 1))]),
    },
  ];
}

/** @param {View} view */
function drawHistograms(view) {
  /** @type {Record<string, unknown>} */
  const layout = {
    font: FONT,
    margin: { ...MARGIN, l: 50 },
    showlegend: false,
    bargap: 0.05,
    ...WHITE,
    grid: { rows: 3, columns: 1, pattern: "independent", ygap: 0.45 },
  };
  const traces = histogramsOf(view).map(({ name, middles, counts, color }, i) => {
    const number = i ? i + 1 : "";
    layout[`xaxis${number}`] = { title: { text: name, standoff: 4 }, zeroline: false, automargin: true };
    layout[`yaxis${number}`] = { gridcolor: GRID_COLOUR, nticks: 4 };
    return {
      type: "bar",
      x: middles,
      y: counts,
      xaxis: `x${number}`,
      yaxis: `y${number}`,
      marker: { color },
      hovertemplate: `${name} %{x:.2f}: %{y:,} examples<extra></extra>`,
    };
  });
  Plotly.react($("histograms"), traces, layout, PLOT);
}
