// Hands the pictures of a session to the places that are kept for them, whichever comes first.
// Fetched when there is one.

import { h } from "../elements/dom.js"
import { definePicture } from "../elements/picture.js"
import { BASE } from "../net/place.js"

const MEDIA_ID = /^[A-Za-z0-9_-]{10,64}$/

export class Pictures {
  #page
  #session
  #known = null
  /** One image for each address, so that a card painted anew after the end still has its picture. */
  #images = new Map()

  /** `session()` is what core/session.js has folded; places within `page` ask by a "picture" event. */
  constructor(page, session) {
    this.#page = page
    this.#session = session
    page.addEventListener("picture", ({ target }) => this.#settle(target))
    definePicture()
  }

  /** Settle all that wait, where something new is known. */
  tell() {
    const { media } = this.#session()
    if (media === this.#known) return
    this.#known = media
    for (const place of this.#page.querySelectorAll("companion-picture")) this.#settle(place)
  }

  #settle(place) {
    if (place.isThere) return
    const { media, showsPictures } = this.#session()
    const found = media.get(place.url)
    const image = MEDIA_ID.test(found?.media_id ?? "") ? this.#imageFor(place.url, found.media_id) : this.#images.get(place.url)
    if (image) place.settle({ image })
    else if (found) place.settle({ problem: found.problem })
    else if (!showsPictures) place.settle(null)
  }

  /** The image itself where nobody shows it now, since its address may be dead by then; else another. */
  #imageFor(url, id) {
    const known = this.#images.get(url)
    if (known && !known.isConnected && known.complete && known.naturalWidth > 0) return known
    const image = h("img", { src: new URL(`media/${id}`, BASE).href, decoding: "async" })
    this.#images.set(url, image)
    return image
  }
}
