// Watches the socket and the browser's network for what a person is told of the connection.

import { firstLink, isSure, knownOf, linkAfter } from "../core/link.js"
import { newId } from "../net/outbox.js"

/** Time an open socket has to answer once the browser doubts its network. */
const ANSWER_MS = 250

/**
 * `ask(requestId)` sends a `ping` over an open socket; `onChange()` after the link has changed;
 * `wasConnected`: something of an earlier connection is on the screen.
 */
export class LinkWatch {
  #link
  #ask
  #onChange
  #asked = null
  #waiting = null

  constructor({ ask, onChange, wasConnected }) {
    this.#ask = ask
    this.#onChange = onChange
    this.#link = firstLink({ hasNetwork: globalThis.navigator?.onLine !== false, wasConnected })
    /** Since when there is no connection, by performance.now(); null where there is one. */
    this.lostAt = performance.now()
  }

  start() {
    for (const name of ["online", "offline"]) {
      globalThis.addEventListener?.(name, () => this.#doubt({ type: "network", isThere: name === "online" }))
    }
  }

  /** connecting, connected, reconnecting, offline or ended. */
  get known() {
    return knownOf(this.#link)
  }

  /** Whether what is said now is surely on its way. */
  get isSure() {
    return isSure(this.#link)
  }

  /** The socket is in another `phase`. */
  change(phase) {
    this.#take({ type: "phase", phase })
  }

  /** A `message` came; the answer to what was asked ends the doubt. */
  hear(message) {
    if (this.#asked !== null && message.requestId === this.#asked) this.#take({ type: "answered" })
  }

  #doubt(event) {
    this.#take(event)
    if (this.isSure) return
    this.#asked = newId()
    this.#ask(this.#asked)
    clearTimeout(this.#waiting)
    this.#waiting = setTimeout(() => this.#take({ type: "unanswered" }), ANSWER_MS)
  }

  #take(event) {
    const link = linkAfter(this.#link, event)
    if (link === this.#link) return
    this.#link = link
    if (this.known === "connected") this.lostAt = null
    else this.lostAt ??= performance.now()
    this.#onChange()
  }
}
