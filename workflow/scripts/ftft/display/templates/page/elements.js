// @ts-check
// Elements of the page: how they are found and made.
"use strict";

/**
 * The first element that a selector names, which must be of a kind.
 * @template {Element} Kind
 * @param {string} selector
 * @param {new () => Kind} kind
 * @param {ParentNode} [within]
 * @returns {Kind}
 */
function find(selector, kind, within = document) {
  const found = within.querySelector(selector);
  if (!(found instanceof kind)) throw new TypeError(`the page has no ${kind.name} ${selector}`);
  return found;
}

/** @param {string} id */
const $ = (id) => find(`#${id}`, HTMLElement);

/** @param {string} id */
const selectOf = (id) => find(`#${id}`, HTMLSelectElement);

/**
 * An element with text (never markup) and attributes.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [text]
 * @param {Record<string, string>} [attributes]
 */
function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/**
 * The choices of a filter: any, or one of the names by its number.
 * @param {HTMLSelectElement} select
 * @param {string[]} names
 */
function fillOptions(select, names) {
  select.replaceChildren(new Option("any", ""), ...names.map((name, value) => new Option(name, String(value))));
}
