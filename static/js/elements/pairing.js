// <companion-pairing>: the QR code and typed code of a session, renewed before they die.
//
// Properties in: `begin({token, sessionId, onChange, onRefused})`, `hear(message)` for each message
// of the owner's connection. Works on any page of an allowed origin: it asks the server it was
// loaded from.

import { ask, serverClock } from "../net/api.js"
import { groupedCode } from "../core/protocol.js"
import { define, fillIn, h } from "./dom.js"
import { command, copyButton, countdown } from "./owner.js"

/** A scan takes some seconds: the picture is changed while the old ticket still lives. */
const RENEW_BEFORE_MS = 12_000
const RETRY_MS = 3000
const RENEW_AT_MOST_EVERY_MS = 5000
/** How long the server lets a link live that was asked for without a life of its own. */
const LINK_LIFE_MS = 60_000
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

export function definePairing() {
  define("companion-pairing", CompanionPairing)
}

class CompanionPairing extends HTMLElement {
  #target = null
  #opened = null
  #receivedAt = 0
  #timer = null
  #isAsking = false
  #isStale = false
  #hasJoined = false

  begin(target) {
    this.#target = target
    this.#build()
    this.renew()
    this.#timer ??= setInterval(() => this.#tick(), 500)
  }

  disconnectedCallback() {
    clearInterval(this.#timer)
    this.#timer = null
  }

  /** Draw another where this one let a device in, or may have while the connection was lost. */
  hear(message) {
    const isBack = message.type === "session_joined" && this.#hasJoined
    if (message.type === "session_joined") this.#hasJoined = true
    if (isBack || message.type === "pairing_used") this.renew()
  }

  /** Ask for a fresh ticket and draw it; a live code stays what it is. */
  async renew() {
    this.#isStale = true
    if (this.#isAsking) return
    this.#isAsking = true
    try {
      while (this.#isStale) {
        this.#isStale = false
        await this.#redraw()
      }
      this.#isAsking = false
    } catch (error) {
      this.#fail(error)
    }
  }

  async #redraw() {
    const { token, sessionId } = this.#target
    const { body } = await ask("POST", `sessions/${sessionId}/pairings`, { token })
    const path = `sessions/${sessionId}/qr.svg?pairing=${encodeURIComponent(body.pairing_id)}`
    try {
      const { body: svg } = await ask("GET", path, { token, as: "text" })
      this.#show(body, svg)
    } catch (error) {
      if (error.status !== 404) throw error
      // It was used before it could be drawn.
      this.#isStale = true
    }
  }

  #build() {
    this.qr = h("img", { class: "qr", alt: "QR code that opens this session on a phone", width: "320", height: "320" })
    this.code = h("output", { class: "big-code" })
    this.left = h("span", { class: "muted" })
    this.host = h("strong", {})
    this.others = h("p", { class: "fine muted", hidden: true })
    this.link = h("a", { class: "button secondary", target: "_blank", rel: "noopener" }, "Open on this device")
    this.copying = h("span", {})
    this.fault = h("div", { role: "alert" })
    this.reach = h("div", { class: "reach" })
    fillIn(this,
      h("div", { class: "plate" }, this.qr),
      this.reach,
      h("div", { class: "ways" },
        h("section", {}, h("h2", {}, "Scan with the phone’s camera"),
          h("p", { class: "muted" }, "The screen opens automatically. There is nothing to install and no account to create.")),
        h("section", {}, h("h2", {}, "Or type the code"),
          h("p", {}, "Go to ", this.host, " and enter"),
          this.code, h("p", {}, this.left), this.others),
        h("div", { class: "actions" }, this.link, this.copying),
        this.fault))
  }

  #show(opened, svg) {
    this.#opened = opened
    // A fresh link lives its full minute from now: that too tells the server's time, where a
    // page of another origin may not read it from the answer's headers.
    serverClock.hear(opened.url_expires_at - LINK_LIFE_MS, 2000)
    this.#receivedAt = performance.now()
    // A picture from a data: URL runs no script, whatever it holds; QR codes are plain ASCII.
    this.qr.src = `data:image/svg+xml;base64,${btoa(svg)}`
    this.code.textContent = groupedCode(opened.code)
    this.code.setAttribute("aria-label", opened.code.split("").join(" "))
    this.host.textContent = opened.code_url.replace(/^https?:\/\//, "")
    const others = (opened.other_code_urls ?? []).map((url) => url.replace(/^https?:\/\//, ""))
    this.others.hidden = others.length === 0
    this.others.textContent = `If that address does not work, try ${others.join(", ")}`
    this.link.href = opened.url
    fillIn(this.copying, copyButton(opened.url, "Copy link"))
    fillIn(this.fault)
    const isNear = LOOPBACK.test(new URL(opened.url).hostname)
    if (isNear && !this.reach.firstChild) fillIn(this.reach, howToReach(opened.lan_command))
    if (!isNear) fillIn(this.reach)
    this.#tick()
    this.#target.onChange?.(opened)
  }

  #fail(error) {
    if (error.status === 401 || error.status === 403 || error.status === 404) {
      clearInterval(this.#timer)
      this.#target.onRefused?.(error)
      return
    }
    fillIn(this.fault, h("p", { class: "note" }, "The server cannot be reached. Trying again…"))
    setTimeout(() => {
      this.#isAsking = false
      this.renew()
    }, RETRY_MS)
  }

  #tick() {
    if (!this.#opened) return
    const { url_expires_at: urlEnd, code_expires_at: codeEnd } = this.#opened
    const serverNow = serverClock.nowMs
    this.left.textContent = `Valid for ${countdown(codeEnd - serverNow)}, then replaced automatically`
    const isHidden = document.visibilityState === "hidden"
    if (!isHidden && Math.min(urlEnd, codeEnd) - serverNow < RENEW_BEFORE_MS && this.#mayRenew) this.renew()
  }

  /** Whatever the clocks say, a picture stands for some seconds: somebody may be aiming at it. */
  get #mayRenew() {
    return !this.#isAsking && performance.now() - this.#receivedAt > RENEW_AT_MOST_EVERY_MS
  }
}

/** `again` is the command that starts the server so that phones reach it; null where nobody knows. */
function howToReach(again) {
  return h("section", { class: "warning" },
    h("h2", {}, "A phone cannot reach this address yet"),
    again
      ? [h("p", {}, "The server listens only on this computer. Stop it and start it like this, in the same folder:"), command(again)]
      : h("p", {}, "The server listens only on this computer. Phones reach it when it is started with ", h("code", {}, "--lan"), "."))
}
