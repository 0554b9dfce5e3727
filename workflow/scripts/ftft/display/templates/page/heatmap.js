// @ts-check
// Many examples at once: counts on the grid of a data map.
"use strict";

const SCALE = COLOURS.map((colour, index) => [index / (COLOURS.length - 1), colour]);
const GREYS = [[0, "#eef1f4"], [1, "#1c2330"]];

/**
 * The cell, out of `cells`, in which a value between 0 and `width` lies.
 * @param {number} value
 * @param {number} width
 * @param {number} cells
 */
const inGrid = (value, width, cells) => Math.min(Math.floor((cells * value) / width), cells - 1);

/**
 * The examples of each cell of the grid, by row: how many, and the sum of their correctness from 0 to 1.
 * @param {View} view
 */
function gridOf({ data, map, cells, rows }) {
  const zeros = () => Array.from({ length: data.grid }, () => new Array(data.grid).fill(0));
  /** @type {[number[][], number[][]]} */
  const [counts, right] = [zeros(), zeros()];
  for (const i of rows) {
    const y = cells ? cells.y[i] : inGrid(map.confidence[i], data.parts, data.grid);
    const x = cells ? cells.x[i] : inGrid(map.variability[i], map.width, data.grid);
    const count = cells ? cells.count[i] : 1;
    counts[y][x] += count;
    right[y][x] += (count * (cells ?? map).correctness[i]) / map.epochs;
  }
  return { counts, right };
}

/**
 * Counts of examples, or their mean correctness, as a trace for plotly.js.
 * @param {View} view
 * @param {boolean} correctness
 */
function heatmap(view, correctness) {
  const { data, map } = view;
  const { counts, right } = gridOf(view);
  /** @param {number} width */
  const middles = (width) => Array.from({ length: data.grid }, (_, i) => ((i + 0.5) * width) / data.grid);
  /**
   * A value for each cell that has examples.
   * @template Value
   * @param {(count: number, right: number) => Value} value
   */
  const inCells = (value) =>
    counts.map((row, y) => row.map((count, x) => (count ? value(count, right[y][x]) : null)));
  const common = {
    type: "heatmap",
    x: middles(map.width / data.parts),
    y: middles(1),
    customdata: inCells((count, sum) => [count, sum / count]),
    hovertemplate: "%{customdata[0]:,} examples, mean correctness %{customdata[1]:.2f}<extra></extra>",
  };
  if (correctness) {
    const colorbar = { title: { text: "mean correctness", side: "right" }, thickness: 12 };
    return { ...common, z: inCells((count, sum) => sum / count), colorscale: SCALE, zmin: 0, zmax: 1, colorbar };
  }
  const most = Math.max(1, ...counts.flat());
  const ticks = [1, 10, 100, 1_000, 10_000, 100_000].filter((count) => count <= most);
  const marks = { tickvals: ticks.map(Math.log10), ticktext: ticks.map(String) };
  const colorbar = { title: { text: "examples", side: "right" }, thickness: 12, ...marks };
  const zmax = Math.max(1, Math.log10(most));
  return { ...common, z: inCells((count) => Math.log10(count)), colorscale: GREYS, zmin: 0, zmax, colorbar };
}
