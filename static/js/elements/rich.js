// Texts as people read them: the spans and blocks of core/markdown.js as elements.
//
// Each text is isolated (`bdi`), so that a sentence from left to right, a telephone number or a
// price keeps its own order in a page from right to left, and the other way round.

import { blocksIn, spansOf } from "../core/markdown.js"
import { h, link } from "./dom.js"

/** One line of text within something else; `links` false where a link cannot be, as in a button. */
export function line(text, { links = true } = {}) {
  return h("bdi", {}, painted(spansOf(text), links))
}

/** A text of its own, with its paragraphs and lists. */
export function prose(text) {
  const blocks = blocksIn(text)
  const isOneLine = blocks.length === 1 && blocks[0].kind === "paragraph"
  if (isOneLine) return h("p", { class: "prose", dir: "auto" }, painted(blocks[0].spans, true))
  return h("div", { class: "prose" }, blocks.map(block))
}

/** A value among others: one line, or a whole text where it has several. */
export function value(text) {
  return text.trim().includes("\n") ? prose(text) : line(text)
}

/** What keeps its own order wherever it stands: a telephone number, an address. */
export function leftToRight(text) {
  return h("bdi", { dir: "ltr" }, text)
}

function block({ kind, spans, text, entries }) {
  switch (kind) {
    case "heading":
      return h("p", { class: "prose-head", dir: "auto" }, h("strong", {}, painted(spans, true)))
    case "code":
      return h("pre", { dir: "ltr" }, h("code", {}, text))
    case "list":
      return list(entries, 0, entries.length)
    default:
      return h("p", { dir: "auto" }, painted(spans, true))
  }
}

/** The entries from `from` to before `to`: those that are deeper stand in lists of their own. */
function list(entries, from, to) {
  const { depth, isOrdered, start } = entries.at(from)
  const items = []
  for (let at = from; at < to; ) {
    let next = at + 1
    while (next < to && entries.at(next).depth > depth) next += 1
    const below = next > at + 1 ? list(entries, at + 1, next) : null
    items.push(h("li", {}, painted(entries.at(at).spans, true), below))
    at = next
  }
  return isOrdered ? h("ol", { dir: "auto", start: start === 1 ? null : start }, items) : h("ul", { dir: "auto" }, items)
}

function painted(spans, links) {
  return spans.map((span) => {
    switch (span.kind) {
      case "text":
        return document.createTextNode(span.text)
      case "break":
        return h("br")
      case "code":
        return h("code", { dir: "ltr" }, span.text)
      case "phone":
        return leftToRight(span.text)
      case "link":
        return links ? linked(span) : h("span", {}, painted(span.spans, false))
      default:
        return h(span.kind === "strong" ? "strong" : "em", {}, painted(span.spans, links))
    }
  })
}

/** Where a link leads stands beside it, unless its words say so. */
function linked({ href, host, spans }) {
  const words = link(href, h("bdi", {}, painted(spans, false)))
  return host ? h("span", {}, words, h("small", { class: "link-host" }, " ", leftToRight(host))) : words
}
