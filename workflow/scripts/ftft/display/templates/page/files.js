// @ts-check
// What the page carries in packed form, and what it saves.
"use strict";

/**
 * What `_packed` in webpage.py made of a text.
 * @param {string} name
 */
async function unpacked(name) {
  const bytes = Uint8Array.from(atob($(`packed-${name}`).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/**
 * Save a text as a file.
 * @param {string} name
 * @param {string} type
 * @param {string} text
 */
function save(name, type, text) {
  const link = element("a", "", { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * A table as the text of a CSV file, which spreadsheets only show.
 * @param {string[][]} rows
 */
function csv(rows) {
  /** @param {string} value */
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return rows.map((row) => `${row.map((cell) => quoted(harmless(cell))).join(",")}\r\n`).join("");
}

/**
 * A cell of a CSV file that is no formula; as `harmless` in summary.py.
 * @param {string} text
 */
const harmless = (text) => (/^(?![+-]?\d+(\.\d+)?(e[+-]?\d+)?$)[=+\-@\t\r\n]/i.test(text) ? `'${text}` : text);
