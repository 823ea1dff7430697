// The A2UI surfaces of a session: records in, painted cards out. Fetched when the first one comes.

import { fillIn, h } from "../elements/dom.js"
import { newId } from "../net/outbox.js"
import { styleOf } from "../net/place.js"
import { Budget, MAX_NODES, MAX_STEPS } from "./budget.js"
import { Painting } from "./painter.js"
import { messagesIn, reduce, withValueAt } from "./reducer.js"

/** `surface` with what a person entered; null where its path leads nowhere. */
function withValue(surface, path, value) {
  try {
    return { ...surface, data: withValueAt(surface.data, path, value) }
  } catch {
    return null
  }
}

/**
 * `about`: {locale, words, nowMs(), act(command)}. A surface is shown in the card of the
 * record that created it; later records change it there.
 */
export class Surfaces {
  #about
  #surfaces = new Map()
  #paintings = new Map()
  #homes = new Map()
  #taken = new Map()

  constructor(about) {
    this.#about = about
    if (!document.querySelector("link[data-a2ui]")) {
      document.head.append(h("link", { rel: "stylesheet", href: styleOf("a2ui"), data: { a2ui: "" } }))
    }
  }

  /**
   * Fold the `ui` of record `seq`, once: `{node, problems, unchecked}`. `node` is what its card
   * shows, or null; `problems` say in words what of it could not be shown, `unchecked` which
   * patterns nobody checks.
   */
  take(seq, ui) {
    if (!this.#taken.has(seq)) this.#taken.set(seq, this.#fold(seq, messagesIn(ui)))
    return this.#taken.get(seq)
  }

  /** The same in the order of the log: `cards` are the session's, whose earlier designs it may change. */
  takeAfter(cards, seq, ui) {
    const earlier = cards.map((card) => card.record).filter((record) => record.ui && record.seq < seq)
    for (const record of earlier.sort((a, b) => a.seq - b.seq)) this.take(record.seq, record.ui)
    return this.take(seq, ui)
  }

  #fold(seq, messages) {
    const before = this.#surfaces
    const problems = new Set()
    const unchecked = new Set()
    const made = new Set()
    if (messages.length === 0) problems.add("Its ui contains no A2UI messages.")
    for (const message of messages) {
      const known = this.#surfaces
      this.#surfaces = reduce(known, message, (problem) => problems.add(problem))
      for (const [id, { isImplied }] of this.#surfaces) {
        if (!known.has(id) || (known.get(id).isImplied && !isImplied) || message.createSurface?.surfaceId === id) made.add(id)
      }
    }
    for (const id of before.keys()) if (!this.#surfaces.has(id) && this.#paintings.has(id)) fillIn(this.#paintings.get(id).node)
    const shown = [...made].filter((id) => this.#surfaces.has(id))
    for (const id of shown) {
      this.#paintings.set(id, this.#painting(id))
      this.#homes.set(id, seq)
    }
    const left = new Budget(0, MAX_STEPS)
    for (const [id, surface] of this.#surfaces) {
      if (before.get(id) === surface) continue
      const painting = this.#paintings.get(id)
      this.#show(painting, surface, left)
      for (const problem of painting.problems) problems.add(problem)
      for (const pattern of painting.unchecked) unchecked.add(pattern)
    }
    const nodes = shown.map((id) => this.#paintings.get(id).node).filter((node) => node.childNodes.length)
    return { node: nodes.length ? h("div", { class: "a2ui-surfaces" }, nodes) : null, problems: [...problems], unchecked: [...unchecked] }
  }

  /** Paint a surface within what its card and this record may still cost. */
  #show(painting, surface, left) {
    const home = this.#homes.get(surface.id)
    let nodes = MAX_NODES
    for (const [id, { used }] of this.#paintings) {
      if (id !== surface.id && this.#homes.get(id) === home && this.#surfaces.has(id)) nodes -= used
    }
    const budget = new Budget(nodes, left.steps)
    painting.show(surface, budget)
    left.steps = budget.steps
  }

  #painting(id) {
    const painting = new Painting({
      locale: this.#about.locale,
      words: this.#about.words,
      nowMs: this.#about.nowMs,
      set: (path, value) => {
        const surface = this.#surfaces.get(id)
        const changed = surface && withValue(surface, path, value)
        if (!changed) return
        this.#surfaces = new Map(this.#surfaces).set(id, changed)
        painting.refresh(changed)
      },
      act: (name, context) =>
        this.#about.act({ type: "ui_action", action_id: newId(), surface_id: id, name, context }),
    })
    return painting
  }
}
