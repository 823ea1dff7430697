// The A2UI surfaces of a session: records in, painted cards out. Fetched when the first one comes.

import { h } from "../dom.js"
import { newRequestId } from "../keep.js"
import { messagesIn, reduce, withValueAt } from "./reducer.js"
import { Painting } from "./painter.js"

/**
 * `about`: {locale, words, act(command)}. A surface is shown in the card of the record
 * that created it; later records change it there.
 */
export class Surfaces {
  #about
  #surfaces = new Map()
  #paintings = new Map()
  #nodes = new Map()

  constructor(about) {
    this.#about = about
    if (!document.querySelector("link[data-a2ui]")) {
      const href = new URL("../../css/a2ui.css", import.meta.url).href
      document.head.append(h("link", { rel: "stylesheet", href, data: { a2ui: "" } }))
    }
  }

  /** Fold the `ui` of record `seq`, once; returns what its card shows, or null. */
  take(seq, ui) {
    if (!this.#nodes.has(seq)) this.#nodes.set(seq, this.#fold(messagesIn(ui)))
    return this.#nodes.get(seq)
  }

  #fold(messages) {
    const before = this.#surfaces
    const made = []
    for (const message of messages) {
      this.#surfaces = reduce(this.#surfaces, message)
      const id = message.createSurface?.surfaceId
      if (typeof id === "string" && this.#surfaces.has(id)) {
        this.#paintings.set(id, this.#painting(id))
        made.push(id)
      }
    }
    for (const [id, surface] of this.#surfaces) if (before.get(id) !== surface) this.#paintings.get(id)?.show(surface)
    for (const id of before.keys()) if (!this.#surfaces.has(id)) this.#paintings.get(id)?.node.replaceChildren()
    return made.length ? h("div", { class: "a2ui-surfaces" }, made.map((id) => this.#paintings.get(id).node)) : null
  }

  #painting(id) {
    const painting = new Painting({
      locale: this.#about.locale,
      words: this.#about.words,
      set: (path, value) => {
        const surface = this.#surfaces.get(id)
        const changed = { ...surface, data: withValueAt(surface.data, path, value) }
        this.#surfaces = new Map(this.#surfaces).set(id, changed)
        painting.refresh(changed)
      },
      act: (name, context) =>
        this.#about.act({ type: "ui_action", action_id: newRequestId(), surface_id: id, name, context }),
    })
    return painting
  }
}
