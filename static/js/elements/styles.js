// Style sheets that few visits need.

import { styleOf } from "../net/place.js"
import { h } from "./dom.js"

const worn = new Map()

/** Add the style sheet `name`, once; resolves when it is there. Without it things are plain, and work all the same. */
export function wear(name) {
  if (!worn.has(name)) {
    worn.set(name, new Promise((resolve) => {
      document.head.append(h("link", { rel: "stylesheet", href: styleOf(name), on: { load: resolve, error: resolve } }))
    }))
  }
  return worn.get(name)
}
