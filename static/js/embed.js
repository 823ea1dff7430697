// The companion in another page: <companion-screen> and <companion-pair>, for allowed origins.
//
//   <script type="module" src="https://companion.example/static/js/embed.js"></script>
//   <companion-screen session-id="…" token="…"></companion-screen>
//   <companion-pair session-id="…" token="…"></companion-pair>
//
// The first shows the session where the visitor already looks; its token is one of
// `POST /sessions/{id}/tokens {role: "ui"}`. The second shows the QR code and the code
// for a phone; its token is the owner's. The page's origin must be an --allow-origin.

import { deviceName, socketAddress } from "./net/api.js"
import { Connection } from "./net/connection.js"
import { define, fillIn, h } from "./elements/dom.js"
import { definePairing } from "./elements/pairing.js"
import { Outbox } from "./net/outbox.js"
import { BASE } from "./net/place.js"

class CompanionScreen extends HTMLElement {
  static observedAttributes = ["session-id", "token"]

  connectedCallback() {
    this.#draw()
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#draw()
  }

  #draw() {
    const token = this.getAttribute("token")
    if (!token) return fillIn(this)
    const url = new URL("ui?embed=1", BASE)
    const sessionId = this.getAttribute("session-id")
    if (sessionId) url.searchParams.set("session_id", sessionId)
    // In the fragment, which no server sees and the page hides at once.
    url.hash = `token=${token}`
    const frame = h("iframe", { src: url.href, title: this.getAttribute("label") ?? "Companion", referrerpolicy: "no-referrer" })
    Object.assign(frame.style, { border: "0", borderRadius: "inherit", inlineSize: "100%", blockSize: "100%", minBlockSize: "20rem", colorScheme: "normal" })
    this.style.display = "block"
    fillIn(this, frame)
    return undefined
  }
}

class CompanionPair extends HTMLElement {
  #connection = null

  connectedCallback() {
    definePairing()
    const sheets = ["static/css/base.css", "static/css/owner.css"].map((path) =>
      h("link", { rel: "stylesheet", href: new URL(path, BASE).href, crossorigin: "anonymous" }))
    const pairing = h("companion-pairing", { class: "pairing" })
    // Apart from the host page's own rules, which are none of our business and the other way round.
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" })
    fillIn(root, ...sheets, pairing)
    const token = this.getAttribute("token")
    const sessionId = this.getAttribute("session-id")
    pairing.begin({ token, sessionId })
    // A pairing is used once; the owner's connections are told when, and the next one is drawn.
    this.#connection = new Connection({
      address: socketAddress(),
      token,
      query: { session_id: sessionId, role: "observer", device: deviceName(), strict: "1" },
      position: () => ({ after: null, epoch: null }),
      outbox: new Outbox(),
      onMessage: (message) => pairing.hear(message),
    })
    this.#connection.start()
  }

  disconnectedCallback() {
    this.#connection.stop()
  }
}

define("companion-screen", CompanionScreen)
define("companion-pair", CompanionPair)
