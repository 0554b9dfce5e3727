// @ts-check
// The data map: a point for each example, or counts on a grid, and the regions.
"use strict";

// More points than this are drawn by the graphics card, where there is one.
const MANY = 2_000;
const hasWebGl = () => Boolean(element("canvas").getContext("webgl"));

/** The figure of a data map. Its traces are the grid, the points and a ring around the example that is shown. */
class MapFigure {
  /**
   * @param {Explored} data
   * @param {Texts} texts
   * @param {(i: number) => void} show shows an example that is pointed at
   */
  constructor(data, texts, show) {
    this.data = data;
    this.texts = texts;
    this.show = show;
    this.plot = $("scatter");
    this.kind = data.examples.uid.length > MANY && hasWebGl() ? "scattergl" : "scatter";
    this.listens = false;
  }

  /**
   * @param {View} view
   * @param {number | null} chosen the example that is shown
   */
  draw(view, chosen) {
    const drawn = selectOf("drawn").value;
    const traces = [
      drawn === "points" ? NO_HEATMAP : heatmap(view, drawn === "correctness"),
      this.points(view.map, drawn === "points" ? view.found : [], drawn === "points"),
      this.ring(view.map, chosen),
    ];
    Plotly.react(this.plot, traces, this.layout(view.map), PLOT);
    if (!this.listens) this.listen();
  }

  /** Show examples that are pointed at; possible once something is drawn. */
  listen() {
    this.listens = true;
    const plot = /** @type {Plot} */ (this.plot);
    for (const event of ["plotly_hover", "plotly_click"]) {
      plot.on(event, ({ points: [{ curveNumber, customdata }] }) => {
        if (curveNumber === 1 && customdata !== undefined) this.show(customdata);
      });
    }
  }

  /**
   * Move the ring alone.
   * @param {DataMap} map
   * @param {number} chosen
   */
  mark(map, chosen) {
    const { x, y } = this.ring(map, chosen);
    Plotly.restyle(this.plot, { x: [x], y: [y] }, [2]);
  }

  /**
   * @param {DataMap} map
   * @param {number[]} found
   * @param {boolean} showscale
   */
  points(map, found, showscale) {
    const { labels, parts, examples } = this.data;
    /** @param {number} i */
    const text = (i) => {
      const [gold, believed] = [labels[examples.label[i]], labels[map.believed[i]]];
      return `${safe(this.texts.snippet(i))}<br>gold label ${safe(gold)}, believed ${safe(believed)}`;
    };
    return {
      type: this.kind,
      mode: "markers",
      x: found.map((i) => map.variability[i] / parts),
      y: found.map((i) => map.confidence[i] / parts),
      customdata: found,
      text: found.map(text),
      hovertemplate: "%{text}<extra></extra>",
      marker: {
        color: found.map((i) => map.correctness[i] / map.epochs),
        colorscale: SCALE,
        cmin: 0,
        cmax: 1,
        size: Math.max(3, Math.min(9, 400 / Math.sqrt(found.length))),
        opacity: 0.75,
        showscale,
        colorbar: { title: { text: "correctness", side: "right" }, thickness: 12 },
      },
    };
  }

  /**
   * @param {DataMap} map
   * @param {number | null} chosen
   */
  ring(map, chosen) {
    const { parts } = this.data;
    return {
      type: this.kind,
      mode: "markers",
      x: chosen === null ? [] : [map.variability[chosen] / parts],
      y: chosen === null ? [] : [map.confidence[chosen] / parts],
      hoverinfo: "skip",
      marker: { size: 18, color: "rgba(0,0,0,0)", line: { color: "#D55E00", width: 3 } },
    };
  }

  /** @param {DataMap} map */
  layout(map) {
    const width = map.width / this.data.parts;
    const axis = { zeroline: false, gridcolor: GRID_COLOUR };
    return {
      font: FONT,
      margin: MARGIN,
      showlegend: false,
      hovermode: "closest",
      hoverlabel: { align: "left" },
      ...WHITE,
      uirevision: selectOf("map").value,
      xaxis: {
        title: { text: "variability", standoff: 10 },
        range: [-0.02 * width, 1.02 * width],
        ...axis,
        automargin: true,
      },
      yaxis: { title: { text: "confidence", standoff: 10 }, range: [-0.02, 1.02], ...axis },
      ...regionMarks(this.data, map),
    };
  }
}

// Takes the place of a heat map that is not wanted.
const NO_HEATMAP = { type: "heatmap", z: [[null]], showscale: false, hoverinfo: "skip" };

/**
 * The boundaries of the regions and their names.
 * @param {Explored} data
 * @param {DataMap} map
 */
function regionMarks({ parts, regions }, map) {
  const ambiguous = regions.indexOf("ambiguous");
  const inside = map.variability.filter((_, i) => map.region[i] === ambiguous);
  const start = inside.reduce((least, value) => Math.min(least, value), inside.length ? Infinity : map.width) / parts;
  const line = { color: "#555555", width: 1, dash: "dash" };
  const look = { xanchor: "left", showarrow: false, bgcolor: "rgba(255,255,255,.7)" };
  return {
    shapes: [
      { type: "line", x0: start, x1: start, y0: 0, y1: 1, yref: "paper", line },
      { type: "line", x0: 0, x1: start, y0: 0.5, y1: 0.5, line },
    ],
    // Each beside its boundary, where there are few points.
    annotations: [
      { text: "easy-to-learn", x: 0, y: 0.5, yanchor: "bottom", ...look },
      { text: "hard-to-learn", x: 0, y: 0.5, yanchor: "top", ...look },
      { text: "ambiguous", x: start, y: 1.02, yanchor: "top", ...look },
    ],
  };
}
