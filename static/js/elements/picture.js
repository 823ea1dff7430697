// <companion-picture>: a picture in the place that is kept for it, so that nothing moves when it comes.
//
// Made by `picture` of dom.js, long before this is fetched. Then `settle(found)` with `{image}`,
// `{problem}`, or null where this server fetches none. Event out: "picture" when it wants to be
// settled, which bubbles.
//
// The server may tell of a picture at once, seconds later, or never (it was stopped meanwhile). A
// place that was kept stays kept: what does not come is a link in it.

import { define, fillIn, h, icon, link } from "./dom.js"

/** The server takes 5 s for one, and four at a time. */
const PATIENCE_MS = 15_000

export function definePicture() {
  define("companion-picture", CompanionPicture)
}

class CompanionPicture extends HTMLElement {
  #timer = null
  #image = null
  #isSettled = false

  get url() {
    return this.given.url
  }

  connectedCallback() {
    if (this.#isSettled) return
    if (this.url.startsWith("data:")) this.settle({ image: h("img", { src: this.url }) })
    else this.#wait()
  }

  disconnectedCallback() {
    clearTimeout(this.#timer)
  }

  settle(found) {
    // What is seen stays, though its address may be another by now.
    if (this.#image) return
    clearTimeout(this.#timer)
    this.#isSettled = true
    if (found?.image) this.#paint(found.image)
    else this.#giveUp()
  }

  #wait() {
    fillIn(this, icon("picture"))
    this.#timer = setTimeout(() => this.#giveUp(), PATIENCE_MS)
    this.dispatchEvent(new CustomEvent("picture", { bubbles: true }))
  }

  #paint(image) {
    this.#image = image
    image.alt = this.given.alt
    image.addEventListener("error", () => this.#giveUp(), { once: true })
    fillIn(this, image)
    this.classList.add("is-there")
  }

  #giveUp() {
    this.#image = null
    this.classList.remove("is-there")
    fillIn(this, icon("picture"), this.given.shape === "small" ? null : this.#link())
  }

  #link() {
    const { url, alt } = this.given
    if (url.startsWith("data:")) return h("span", {}, alt)
    const { host, href } = new URL(url)
    return h("span", {}, link(href, h("bdi", {}, alt || host)), alt ? h("small", {}, ` ${host}`) : null)
  }
}
