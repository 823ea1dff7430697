// The docs: finds pages by words, offers code for copying. Without this script they are read all the same.

/*! Search by MiniSearch 7.2.0, copyright 2022 Luca Ongaro, MIT: static/js/vendor/minisearch.LICENSE.txt */
import MiniSearch from "../vendor/minisearch.js"
import { copyButton } from "../elements/owner.js"
import { fillIn, h } from "../elements/dom.js"

const MOST = 20
const AROUND = 70
/** Words of one or two letters are found as they are; others also with a slip of a finger. */
const SEARCH = { boost: { title: 4, page: 2 }, combineWith: "AND", prefix: true, fuzzy: (word) => (word.length > 4 ? 0.2 : false) }

const find = document.getElementById("find")
const content = document.getElementById("content")
const contents = document.querySelector(".toc")
const words = new URL(find.dataset.words, location.href)
let index = null

const field = h("input", { type: "search", id: "words", autocomplete: "off", spellcheck: "false", placeholder: "Search the docs", on: { input: show, focus: () => load() } })
const count = h("p", { class: "unseen", role: "status" })
const list = h("ul", { class: "found", hidden: true })
fillIn(find, h("label", { class: "unseen", for: "words" }, "Search the docs"), field, count, list)

for (const block of document.querySelectorAll("main > pre, main > :is(ul, ol) pre")) {
  const around = h("div", { class: "code" })
  block.replaceWith(around)
  around.append(block, copyButton(block.textContent.replace(/\n$/, ""), "Copy"))
}

// In a column that scrolls by itself the page one reads is in sight.
const current = contents.querySelector("[aria-current]")
if (current) contents.scrollTop = Math.max(0, current.offsetTop - contents.clientHeight / 3)

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select")
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault()
    field.focus()
    field.select()
  } else if (event.key === "Escape" && field.value) {
    field.value = ""
    field.focus()
    show()
  } else if (["ArrowDown", "ArrowUp"].includes(event.key) && find.contains(event.target)) move(event)
})

/** The index is made when somebody wants it, once. */
function load() {
  index ??= fetch(words).then((answer) => answer.json()).then((sections) => {
    const made = new MiniSearch({ fields: ["title", "page", "text"], storeFields: ["to", "page", "title", "text"] })
    made.addAll(sections.map((section, id) => ({ id, ...section })))
    return made
  })
  // Whoever types again tries again.
  index.catch(() => { index = null })
  return index
}

async function show() {
  const wanted = field.value.trim()
  const isSearching = wanted !== ""
  content.hidden = contents.hidden = isSearching
  list.hidden = !isSearching
  if (!isSearching) return fillIn(count)
  let found
  try {
    found = (await load()).search(wanted, SEARCH)
  } catch {
    return fillIn(list, h("li", { class: "muted" }, "The search could not be loaded. Type again to try again."))
  }
  if (field.value.trim() !== wanted) return undefined
  fillIn(count, found.length === 1 ? "1 place found" : `${found.length} places found`)
  if (!found.length) return fillIn(list, h("li", { class: "muted" }, `Nothing is found for “${wanted}”.`))
  return fillIn(list, found.slice(0, MOST).map(entry))
}

function entry(found) {
  const title = found.title === found.page ? found.page : `${found.page} › ${found.title}`
  const link = h("a", { href: new URL(found.to, words).href }, h("strong", {}, title), h("span", {}, excerpt(found.text, found.terms)))
  // A place on this very page is under the list of what was found.
  link.addEventListener("click", () => {
    field.value = ""
    show()
  })
  return h("li", {}, link)
}

/** The words around the first that was looked for, with each of them marked. */
function excerpt(text, terms) {
  const sought = new RegExp(terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "giu")
  const at = Math.max(0, text.search(sought))
  const start = at < AROUND ? 0 : text.indexOf(" ", at - AROUND) + 1
  const shown = text.slice(start, at + 2 * AROUND)
  const parts = start ? ["… "] : []
  let from = 0
  for (const match of shown.matchAll(sought)) {
    if (!match[0]) continue
    parts.push(shown.slice(from, match.index), h("mark", {}, match[0]))
    from = match.index + match[0].length
  }
  return [...parts, shown.slice(from), start + shown.length < text.length ? " …" : ""]
}

function move(event) {
  const stops = [field, ...list.querySelectorAll("a")]
  const at = stops.indexOf(document.activeElement)
  const next = event.key === "ArrowDown" ? stops[at + 1] : stops[at - 1]
  if (at < 0 || !next) return
  event.preventDefault()
  next.focus()
}
