// @ts-check
// The texts of the examples, which may be hidden.
"use strict";

/** The texts of the examples that the page carries, both of a pair as one. */
class Texts {
  /**
   * @param {Examples} examples
   * @param {boolean} hidden
   */
  constructor(examples, hidden) {
    const { uid, text_a, text_b } = examples;
    this.uids = uid;
    this.all = text_a.map((text, i) => (text_b ? `${text}\n${text_b[i]}` : text));
    this.lower = this.all.map((text, i) => `${text}\n${uid[i]}`.toLowerCase());
    this.hidden = hidden;
  }

  /**
   * A few words for the map; the uid where texts are hidden.
   * @param {number} i
   */
  snippet(i) {
    return this.hidden ? this.uids[i] : clipped(this.all[i], 90);
  }

  /**
   * A text as an element; where texts are hidden, a button shows it.
   * @param {string} text
   */
  shown(text) {
    const holder = element("span", this.hidden ? "" : text);
    if (this.hidden) {
      const button = element("button", "Show text", { type: "button", class: "action" });
      button.addEventListener("click", () => holder.replaceChildren(text));
      holder.append(button);
    }
    return holder;
  }
}

/**
 * @param {string} text
 * @param {number} length
 */
const clipped = (text, length) => (text.length > length ? `${text.slice(0, length)} \u2026` : text);

/**
 * A text for a figure, which takes some markup.
 * @param {string} text
 */
const safe = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\n", "<br>");
