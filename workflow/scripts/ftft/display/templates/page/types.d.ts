// What the page's script is given: the data that explorer.py and charts.py make, and what it uses of plotly.js.

/** The n examples that the page carries, by column. */
interface Examples {
  uid: string[];
  text_a: string[];
  text_b: string[] | null;
  /** Index into the labels. */
  label: number[];
  /** Index into the groups; null where there are none. */
  group: number[] | null;
}

/** All examples, counted by cell of the grid and by what the page filters by. */
interface Cells {
  x: number[];
  y: number[];
  label: number[];
  group: number[];
  correctness: number[];
  region: number[];
  selected: number[];
  count: number[];
}

/** The data map of one reference run; each column has n numbers. */
interface DataMap {
  reference: string;
  seed: number;
  first_epoch: number;
  epochs: number;
  /** The largest variability that there is room for, in parts. */
  width: number;
  /** Names of the subsets selected from it. */
  subsets: string[];
  /** In parts. */
  variability: number[];
  /** In parts. */
  confidence: number[];
  /** Number of epochs. */
  correctness: number[];
  /** Index into the regions. */
  region: number[];
  /** Bit i: whether the example is in subset i. */
  selected: number[];
  /** The label with the highest mean probability. */
  believed: number[];
  /** In parts, by how much that exceeds the gold label's. */
  doubt: number[];
  /** For each epoch, the label predicted. */
  predicted: number[][];
  /** For each epoch, the gold label's probability in percent. */
  gold: number[][];
  /** Null where the page carries all examples. */
  cells: Cells | null;
}

/** What `explore` in explorer.py returns. */
interface Explored {
  labels: string[];
  regions: string[];
  groups: string[] | null;
  /** How many parts make 1. */
  parts: number;
  /** Cells of the grid in each direction. */
  grid: number;
  /** How many examples there are. */
  total: number;
  /** How many from each end of a ranking are sure to be carried. */
  top: number;
  examples: Examples;
  maps: DataMap[];
}

/** The columns that the filters look at, of the examples carried or of cells. */
interface Filtered {
  label: number[];
  group: number[] | null;
  correctness: number[];
  region: number[];
  selected: number[];
}

/** What passes the filters, in one data map. */
interface View {
  data: Explored;
  map: DataMap;
  /** Numbers of the examples carried that pass. */
  found: number[];
  /** What is counted: cells, which stand for all examples, or null: the examples found. */
  cells: Cells | null;
  /** Numbers of the cells that pass; without cells, as `found`. */
  rows: number[];
}

/** One of several things that a chart can show. */
interface Variant {
  name: string;
  title: string;
  x?: (number[] | null)[];
  z?: (number | null)[][];
}

/** What `charts.py` makes. */
interface Chart {
  figure: { data: object[]; layout: { height: number; [name: string]: unknown } };
  variants: Variant[];
}

/** An element in which plotly.js has drawn. */
interface Plot extends HTMLElement {
  on(event: string, handler: (event: { points: { curveNumber: number; customdata?: number }[] }) => void): void;
}

declare const Plotly: {
  newPlot(plot: HTMLElement, data: object[], layout: object, config: object): Promise<HTMLElement>;
  react(plot: HTMLElement, data: object[], layout: object, config: object): Promise<HTMLElement>;
  restyle(plot: HTMLElement, data: object, traces: number[]): Promise<HTMLElement>;
  update(plot: HTMLElement, data: object, layout: object): Promise<HTMLElement>;
};

interface Window {
  /** For whoever looks into a page with the browser's console. */
  explorer?: Explorer;
}
