// Lists to choose from: radio buttons and ticks with their words, and a search where a list is long.

import { cleanText } from "../core/cards.js"
import { choiceWords } from "./card.js"
import { h } from "./dom.js"

/** From here on nobody reads a list through. */
export const SEARCHED = 12

/**
 * Choices as radio buttons, or ticks with `multiple`: `{node, chosen(), choose(places), focus()}`.
 * `choices` are {label, detail, badge, price, image}; what is chosen are their places in the list.
 */
export function choiceBoxes(choices, { id, multiple, words, onInput, empty = "" }) {
  const boxes = choices.map(() => h("input", { type: multiple ? "checkbox" : "radio", name: id }))
  const rows = choices.map((choice, at) => h("label", { class: "choice" }, boxes.at(at), ...choiceWords(choice)))
  const none = empty ? h("input", { type: "radio", name: id, checked: true }) : null
  const list = h("div", { class: "choices", on: { change: onInput } }, rows, none ? h("label", { class: "choice" }, none, h("span", { class: "choice-text" }, empty)) : null)
  const search = choices.length > SEARCHED ? searchOver(rows, choices, words) : null
  return {
    node: search ? h("div", { class: "searched" }, search, list) : list,
    boxes,
    chosen: () => boxes.flatMap((box, at) => (box.checked ? [at] : [])),
    choose: (places) => {
      for (const [at, box] of boxes.entries()) box.checked = places.includes(at)
      if (none) none.checked = places.length === 0
    },
    focus: () => (search?.querySelector("input") ?? boxes.find((box) => box.checked) ?? boxes[0])?.focus(),
  }
}

/** A field that leaves of `rows` those whose choice has all its words; what is ticked stays in sight. */
export function searchOver(rows, choices, words) {
  const texts = choices.map(({ label, detail, badge }) => folded([label, detail, badge].join(" ")))
  const none = h("p", { class: "hint", role: "status" })
  const field = h("input", {
    type: "search", class: "search", placeholder: words("search"), "aria-label": words("search"), autocomplete: "off", enterkeyhint: "search",
    on: {
      input: () => {
        const wanted = folded(field.value).split(/\s+/).filter(Boolean)
        let found = 0
        for (const [at, row] of rows.entries()) {
          const isFound = wanted.every((word) => texts.at(at).includes(word))
          row.hidden = !isFound && !row.querySelector("input:checked")
          found += Number(isFound)
        }
        none.textContent = found ? "" : words("nothing_found", { text: cleanText(field.value) })
      },
      // Enter in a field would send the form around it.
      keydown: (event) => event.key === "Enter" && event.preventDefault(),
    },
  })
  return h("div", { class: "searching" }, field, none)
}

/** Letters without their marks, so that "Munchen" finds "München". */
function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase()
}
