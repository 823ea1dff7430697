// <companion-card>: one contextual update as readable blocks, and its choices as big buttons.
//
// Properties in: `show(model)` with {title, time, blocks, choices, chosen, pending, note,
// words}. Event out: "choose" with the option.

import { lookUp } from "../core/protocol.js"
import { plainOf } from "../core/markdown.js"
import { define, h, icon, link, picture, refill } from "./dom.js"
import { leftToRight, line, prose, value } from "./rich.js"

const ROWS_AT_ONCE = 12
/** The second half of a double tap is not yet a change of mind. */
const SETTLED_MS = 400

export function defineCard() {
  define("companion-card", CompanionCard)
}

class CompanionCard extends HTMLElement {
  #reopened = false
  #foldedAt = null

  show(model) {
    const { title, time, words } = model
    if (!model.chosen) this.#reopened = false
    const head = title ? h("h2", {}, line(title)) : null
    const when = time ? h("time", { datetime: time.iso }, time.text) : null
    const folded = model.chosen && !this.#reopened && !model.pending
    if (!folded) this.#foldedAt = null
    else this.#foldedAt ??= performance.now()
    refill(this,
      h("article", { class: folded ? "card is-done" : "card", tabindex: "-1" },
        h("header", { class: "card-head" }, head, when),
        model.blocks.map((block) => paintSafely(block, words)),
        model.extra ?? null,
        folded ? this.#receipt(model) : model.choices ? this.#choices(model) : null,
        model.note ? h("p", { class: "note", role: "status" }, model.note) : null),
    )
  }

  #choices(model) {
    const { options } = model.choices
    let list = null
    const items = options.map((option) =>
      h("li", {}, choiceButton(option, {
        pending: model.pending,
        chosen: model.chosen?.id === option.id,
        disabled: Boolean(model.pending) || model.closed,
        act: () => {
          // A list that has been replaced shows what no longer holds.
          if (!list.isConnected) return
          this.#reopened = false
          this.dispatchEvent(new CustomEvent("choose", { detail: option }))
        },
      })))
    list = h("ul", { class: "choices", "aria-label": plainOf(model.title) || model.words("select") }, items)
    return list
  }

  #receipt(model) {
    const { chosen, words } = model
    const label = chosen.price ? `${chosen.label}, ${chosen.price}` : chosen.label
    const change = model.closed || !model.mayChange ? null : this.#changeButton(model)
    return receipt({ text: words("selected", { label }), note: model.receiptNote, tone: "done" }, change)
  }

  #changeButton(model) {
    const left = this.#foldedAt + SETTLED_MS - performance.now()
    const button = h("button", { type: "button", class: "quiet", disabled: left > 0, on: { click: () => this.#reopen(model) } },
      model.words("change"))
    if (left > 0) setTimeout(() => { button.disabled = false }, left)
    return button
  }

  #reopen(model) {
    this.#reopened = true
    this.show(model)
    this.querySelector(".choice")?.focus()
  }
}

/** A button that answers with one tap; `state.pending` is `{id, text}` while its answer travels. */
export function choiceButton(option, state) {
  const isPending = state.pending?.id === option.id
  const detail = isPending ? state.pending.text : option.description
  return h("button", {
    type: "button",
    class: `choice${isPending ? " is-pending" : ""}${state.chosen ? " is-chosen" : ""}`,
    disabled: state.disabled,
    on: { click: state.act },
  },
  ...choiceWords({ ...option, detail }),
  icon(state.chosen ? "check" : "chevron"))
}

/** What stands on a choice: its picture, words, badge and price. */
export function choiceWords({ label, detail, badge, price, image }) {
  return [
    image ? picture(image, "", "small") : null,
    h("span", { class: "choice-text" },
      badge ? h("span", { class: "badge" }, line(badge, { links: false })) : null,
      h("span", { class: "choice-label" }, line(label, { links: false })),
      detail ? h("span", { class: "choice-detail" }, line(detail, { links: false })) : null),
    price ? h("bdi", { class: "choice-price" }, price) : null,
  ]
}

/** What was decided, in the past tense. */
export function receipt({ text, note, tone }, action = null) {
  const sign = lookUp({ done: "check", no: "close", quiet: "clock" }, tone)
  return h("div", { class: `receipt is-${tone}` },
    icon(sign),
    h("p", {}, h("strong", {}, line(text)), note ? h("span", { class: "receipt-note" }, note) : null),
    action)
}

/** Paint one block; one that cannot be painted costs only itself. */
export function paintSafely(block, words) {
  try {
    return lookUp(PAINTERS, block.kind)(block, words)
  } catch (error) {
    console.warn("a block could not be shown", error)
    return h("p", { class: "note" }, words("could_not_show"))
  }
}

const PAINTERS = {
  text: (block) => prose(block.text),

  pictures: ({ pictures }) =>
    pictures.length === 1
      ? picture(pictures[0].url, pictures[0].alt, pictures[0].isSmall ? "small" : "wide")
      : h("ul", { class: "gallery" }, pictures.map(({ url, alt }) => h("li", {}, picture(url, alt, "tile")))),

  rows: (block, words) => {
    const list = h("dl", { class: "rows" })
    const steps = h("div", { class: "steps" }, list)
    showInSteps(block.rows, ROWS_AT_ONCE, words, steps, (row) => [
      h("div", { class: row.cell.text.length > 32 || row.label.length > 24 ? "row is-long" : "row" },
        h("dt", {}, h("bdi", {}, row.label)),
        h("dd", { class: `cell-${row.cell.kind}` }, cell(row.cell)))], list)
    // A list of terms holds terms alone; its button stands below it.
    return block.rows.length > ROWS_AT_ONCE ? steps : list
  },

  chips: (block, words) =>
    h("ul", { class: "chips" },
      block.cells.map((each) => h("li", {}, cell(each))),
      block.more ? h("li", { class: "muted" }, words("n_more", { n: block.more })) : null),

  table: (block, words) => {
    const body = h("tbody", {})
    const table = h("div", { class: "table" },
      h("table", {},
        h("thead", {}, h("tr", {}, block.columns.map((column, at) =>
          h("th", { scope: "col", class: `cell-${block.rows[0]?.[at].kind}` }, h("bdi", {}, column))))),
        body))
    showInSteps(block.rows, ROWS_AT_ONCE * 2, words, table, (row) => [
      h("tr", {}, row.map((each) => h("td", { class: `cell-${each.kind}` }, cell(each))))], body)
    return table
  },

  cards: (block, words) => {
    const list = h("div", { class: "stack" })
    showInSteps(block.cards, ROWS_AT_ONCE, words, list, (blocks) => [
      h("div", { class: "sub" }, blocks.map((each) => paintSafely(each, words)))])
    return list
  },

  group: (block, words) => {
    const inside = block.blocks.map((each) => paintSafely(each, words))
    if (!block.folded) return h("section", { class: "group" }, h("h3", {}, h("bdi", {}, block.label)), inside)
    return h("details", { class: "group" },
      h("summary", {}, h("bdi", {}, block.label), h("span", { class: "muted" }, line(block.summary, { links: false })), icon("chevron")),
      inside)
  },
}

/** Show the first `count` of `list`, and a button for the rest. */
function showInSteps(list, count, words, holder, paint, into = holder) {
  into.append(...list.slice(0, count).flatMap(paint))
  if (list.length <= count) return
  const more = h("button", { type: "button", class: "quiet", on: { click: () => {
    more.remove()
    showInSteps(list.slice(count), 200, words, holder, paint, into)
  } } }, words("show_more"))
  holder.append(more)
}

function cell({ kind, text, href, host, iso, relative }) {
  switch (kind) {
    case "link":
      return h("span", {}, link(href, h("bdi", {}, text)), host ? h("small", {}, leftToRight(host)) : null)
    case "file":
      return h("a", { href, download: text }, h("bdi", {}, text))
    case "time":
      return h("time", { datetime: iso }, h("bdi", {}, text), relative ? h("small", {}, relative) : null)
    case "color": {
      const swatch = h("span", { class: "swatch" })
      swatch.style.backgroundColor = text
      return h("span", {}, swatch, leftToRight(text))
    }
    case "text":
      return value(text)
    default:
      return h("bdi", {}, text)
  }
}
