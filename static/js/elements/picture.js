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
const RETRY_MS = 2000
const MOST_RETRIES = 3
/** Less would be blown up. */
const PHOTO_PX = 300

export function definePicture() {
  define("companion-picture", CompanionPicture)
}

class CompanionPicture extends HTMLElement {
  #timer = null
  #image = null
  #isSettled = false
  #tries = 0

  get url() {
    return this.given.url
  }

  /** Whether it is seen; then it stays, though its address may be another by now. */
  get isThere() {
    return this.#image !== null
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
    if (this.isThere) return
    clearTimeout(this.#timer)
    this.#isSettled = true
    if (found?.image) this.#paint(found.image)
    else this.#giveUp()
  }

  #wait() {
    fillIn(this, icon("picture"))
    this.#timer = setTimeout(() => this.#giveUp(), PATIENCE_MS)
    this.#ask()
  }

  #ask() {
    this.#isSettled = false
    this.dispatchEvent(new CustomEvent("picture", { bubbles: true }))
  }

  /** A phone in a tunnel asks again. */
  #retry() {
    this.#giveUp()
    this.#tries += 1
    if (this.#tries <= MOST_RETRIES && !this.url.startsWith("data:")) this.#timer = setTimeout(() => this.#ask(), this.#tries * RETRY_MS)
  }

  #paint(image) {
    this.#image = image
    image.alt = this.given.alt
    image.addEventListener("error", () => this.#image === image && this.#retry(), { once: true })
    image.addEventListener("load", () => this.#fit(image), { once: true })
    if (image.complete) this.#fit(image)
    fillIn(this, image)
    this.classList.add("is-there")
  }

  /** A photo may lose its edges to fill its place; what is small, tall or flat is shown whole. */
  #fit({ naturalWidth, naturalHeight }) {
    const ratio = naturalWidth / naturalHeight
    const isPhoto = naturalWidth >= PHOTO_PX && ratio > 1.2 && ratio < 2.1
    this.classList.toggle("is-odd", this.given.shape === "wide" && !isPhoto)
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
