// What stands above the cards when a conversation is over, and what can be done with them. Fetched
// when a conversation goes on after the scan, as it does not begin with its end.

import { lookUp } from "../core/protocol.js"
import { lastWords, textOf } from "../core/take-away.js"
import { copyText, makeCopyable } from "../elements/copying.js"
import { h } from "../elements/dom.js"

/**
 * `screen` is the ScreenSession that ended; `list` holds its cards; `parts()` gives them as values
 * (`{title, blocks, receipt, answers}`); `toast(text)` tells; `onCleared()` after the phone has nothing of it any more.
 */
export class TakeAway {
  #screen
  #language
  #list
  #parts
  #toast
  #onCleared
  #isCleared = false

  constructor({ screen, language, list, parts, toast, onCleared }) {
    this.#screen = screen
    this.#language = language
    this.#list = list
    this.#parts = parts
    this.#toast = toast
    this.#onCleared = onCleared
    // Rows that are shown later are values, too.
    list.addEventListener("click", () => this.#offerCopies())
    if (screen.keptUntil !== null) this.#watch()
  }

  /** The heading, with what can be done. */
  head() {
    const { words } = this.#language
    const { session, end, unsaid, keptUntil } = this.#screen
    const said = lastWords(session)
    const isKept = keptUntil !== null
    return h("section", { class: "terminal take-away" },
      h("h2", {}, words("done_title")),
      h("p", {}, words(end === "ended" ? "ended_title" : "expired_title")),
      said ? h("figure", { class: "last-words" },
        h("figcaption", { class: "muted fine" }, words("last_words")), h("blockquote", { dir: "auto" }, said)) : null,
      unsaid.map((text) => h("p", { class: "note" }, words("unsaid", { label: text }))),
      isKept ? h("div", { class: "take-away-acts" },
        button("primary", words("share"), () => this.#share()),
        button("secondary", words("print"), () => this.#print()),
        button("secondary", words("clear"), () => this.#clear())) : null,
      isKept ? h("p", { class: "muted fine" }, words("kept_until", { time: this.#time(keptUntil) })) : h("p", {}, words("ended_text")),
      isKept ? h("a", { class: "quiet-link", href: "c" }, words("type_code")) : null)
  }

  /** Once the cards are painted. */
  painted() {
    this.#offerCopies()
  }

  #offerCopies() {
    const { words } = this.#language
    makeCopyable(this.#list, words, (worked) => this.#toast(words(worked ? "copied" : "copy_by_hand")))
  }

  async #share() {
    const { words } = this.#language
    const { session } = this.#screen
    const title = session.title || words("companion")
    const text = textOf([title, lastWords(session)].filter(Boolean).join("\n\n"), this.#parts())
    try {
      if (navigator.share) {
        await navigator.share({ title, text })
        return
      }
    } catch (error) {
      if (error.name === "AbortError") return
    }
    const worked = await copyText(text)
    if (!worked) getSelection().selectAllChildren(this.#list)
    this.#toast(words(worked ? "copied_all" : "copy_by_hand"))
  }

  /** All of it: what is folded or was left for a tap is opened first. */
  #print() {
    const more = () => [...this.#list.querySelectorAll("button")].find((each) => each.textContent === this.#language.words("show_more"))
    for (let found = more(); found; found = more()) found.click()
    for (const group of this.#list.querySelectorAll("details")) group.open = true
    print()
  }

  #clear() {
    this.#screen.clearTakeAway()
    this.#look()
  }

  #watch() {
    const look = () => this.#look()
    setTimeout(look, Math.max(0, this.#screen.keptUntil - Date.now()))
    // Another tab has cleared it or paired anew; or this one was asleep, or in the history, when its time came.
    for (const name of ["storage", "pageshow"]) addEventListener(name, look)
    document.addEventListener("visibilitychange", look)
  }

  #look() {
    if (this.#isCleared || this.#screen.hasTakeAway) return
    this.#isCleared = true
    this.#onCleared()
  }

  #time(ms) {
    return new Intl.DateTimeFormat(this.#language.locale, { weekday: "long", hour: "numeric", minute: "2-digit" }).format(ms)
  }
}

const TEXTS = {
  ended: "scan_again_text", expired: "expired_text", erased: "erased_text", revoked: "revoked_text", away: "away_text", refused: "scan_again_text",
}

/** What stands there after an end that leaves nothing to take away. */
export function terminal(end, words, { isEmbedded, hasTaps }) {
  const text = lookUp(TEXTS, end)
  return h("section", { class: "terminal" },
    h("h2", {}, words(`${end}_title`)),
    h("p", {}, words(text)),
    end === "away" && hasTaps ? h("p", {}, words("kept_text")) : null,
    isEmbedded || text === "scan_again_text" ? null : h("p", { class: "muted" }, words("scan_again_text")),
    isEmbedded ? null : h("a", { class: "button primary", href: "c" }, words("type_code")))
}

function button(kind, label, act) {
  return h("button", { type: "button", class: kind, on: { click: act } }, label)
}
