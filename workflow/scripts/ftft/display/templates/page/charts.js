// @ts-check
// The figures that charts.py makes, and how every figure of the page looks.
"use strict";

// Without the button that uploads a figure, and its data, to the maker of the library.
const PLOT = {
  responsive: true,
  displaylogo: false,
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};

const FONT = { size: 14, color: "#1c2330", family: "system-ui, sans-serif" };
const MARGIN = { l: 60, r: 15, t: 15, b: 60 };
const WHITE = { paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff" };
const GRID_COLOUR = "#e3e6ea";
// viridis without its light end, which is faint on white
const COLOURS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58"];

const NARROW = 700; // pixels

/**
 * Draw a figure in its place, where a choice shows another variant of it.
 * @param {HTMLElement} place
 * @param {Chart} chart
 */
function draw(place, { figure, variants }) {
  const plot = find(".plot", HTMLElement, place);
  const narrow = plot.clientWidth < NARROW;
  // On a phone the legend goes below, where it takes height instead of width.
  const height = figure.layout.height + (narrow ? 24 * figure.data.length : 0);
  const below = narrow ? { legend: { orientation: "h", y: -0.2, yanchor: "top" } } : {};
  plot.style.height = `${height}px`;
  Plotly.newPlot(plot, figure.data, { ...figure.layout, height, ...below }, PLOT);
  const select = place.querySelector("select");
  select?.addEventListener("change", () => {
    const { x, z, title } = variants[Number(select.value)];
    Plotly.update(plot, x ? { x } : { z: [z] }, x ? { "xaxis.title.text": title } : {});
  });
}
