// @ts-check
// The data map, its histograms, the example that is shown and the list, which go together.
"use strict";

/** What passes the filters in one data map, and all that shows it. */
class Explorer {
  /** @param {Explored} data */
  constructor(data) {
    this.data = data;
    this.map = data.maps[0];
    /**
     * The example that is shown.
     * @type {number | null}
     */
    this.chosen = null;
    /** @param {number} i */
    const show = (i) => this.show(i);
    this.texts = new Texts(data.examples, document.body.dataset.blur === "true");
    this.filters = new Filters(data, () => this.filter());
    this.figure = new MapFigure(data, this.texts, show);
    this.list = new List(data, this.texts, show);
    data.maps.forEach(({ reference, seed }, i) => {
      selectOf("map").append(new Option(`${reference}, seed ${seed}`, String(i)));
    });
    this.listen();
    this.choose(0);
  }

  listen() {
    const map = selectOf("map");
    map.addEventListener("change", () => this.choose(Number(map.value)));
    $("drawn").addEventListener("input", () => this.filter());
    $("lists").addEventListener("change", () => this.list.begin(this.view));
    const reveal = document.getElementById("reveal"); // only where texts are hidden
    reveal?.addEventListener("click", () => {
      this.texts.hidden = false;
      reveal.remove();
      this.filter();
      this.showAgain();
    });
  }

  /**
   * Another data map.
   * @param {number} number
   */
  choose(number) {
    selectOf("map").value = String(number);
    this.map = this.data.maps[number];
    this.filters.offer(this.map);
    selectOf("drawn").value = this.map.cells ? "density" : "points";
    this.filter();
    this.showAgain();
  }

  get view() {
    return this.filters.view(this.map, this.texts);
  }

  filter() {
    const { view } = this;
    $("status").textContent = statusOf(view);
    this.figure.draw(view, this.chosen);
    drawHistograms(view);
    this.list.begin(view);
  }

  /** @param {number} i */
  show(i) {
    this.chosen = i;
    $("example").replaceChildren(factsOf(this.data, this.map, i, this.texts), epochsOf(this.data, this.map, i));
    this.figure.mark(this.map, i);
  }

  /** The same example as it is now. */
  showAgain() {
    if (this.chosen !== null) this.show(this.chosen);
  }
}
