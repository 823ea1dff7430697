// Elements from values: text stays text, nothing is ever parsed as markup.

import { lookUp } from "../core/protocol.js"

const SVG = "http://www.w3.org/2000/svg"

const PATHS = {
  check: "M5 12.5l4.5 4.5L19 7.5",
  chevron: "M9 5l7 7-7 7",
  clock: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  close: "M6 6l12 12M18 6L6 18",
  down: "M6 10l6 6 6-6",
  keyboard: "M3 6h18v12H3zM7 10h.01M12 10h.01M17 10h.01M8 14h8",
  copy: "M9 9h10v11H9zM5 15V4h10",
  phone: "M8 3h8a1.5 1.5 0 0 1 1.5 1.5v15A1.5 1.5 0 0 1 16 21H8a1.5 1.5 0 0 1-1.5-1.5v-15A1.5 1.5 0 0 1 8 3zM11 18h2",
  "phone-off": "M8 3h8a1.5 1.5 0 0 1 1.5 1.5v15A1.5 1.5 0 0 1 16 21H8a1.5 1.5 0 0 1-1.5-1.5v-15A1.5 1.5 0 0 1 8 3zM3 4l18 16",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 2-2 5 5M15.5 9.5h.01",
  send: "M12 19V5M6 11l6-6 6 6",
  up: "M6 14l6-6 6 6",
}

/**
 * An element with attributes and children.
 * `on` maps events to listeners, `data` dataset keys to values; true and false switch an
 * attribute; null and false children are left out.
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act)
    else if (key === "data") Object.assign(element.dataset, value)
    else if (key === "value") element.value = value
    else if (value === true) element.setAttribute(key, "")
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value)
  }
  element.append(...nodesIn(children))
  return element
}

/** Put `children` in place of all `parent` holds; null and false are left out. */
export function fillIn(parent, ...children) {
  parent.replaceChildren(...nodesIn(children))
}

function nodesIn(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false)
}

/** A link that leads away tells nobody where it was tapped. */
export function link(href, inside) {
  const outside = /^https?:/.test(href) ? { target: "_blank", rel: "noopener noreferrer", referrerpolicy: "no-referrer" } : {}
  return h("a", { href, ...outside }, inside)
}

/**
 * The place of a picture, for elements/picture.js to fill: what it needs is fetched when there is one.
 * `url` is an address or the picture itself (data:), `shape` wide, tile, small or fill.
 */
export function picture(url, alt, shape) {
  const isInline = url.startsWith("data:")
  return Object.assign(h("companion-picture", { class: `picture is-${shape}${isInline ? "" : " is-fetched"}` }), { given: { url, alt, shape } })
}

/** The style of a rule of our own for `selector`: elements have no style in an attribute, as injected markup has. */
export function ruleFor(selector) {
  const sheet = new CSSStyleSheet()
  sheet.insertRule(`${selector} {}`)
  document.adoptedStyleSheets.push(sheet)
  return sheet.cssRules[0].style
}

/** A drawn sign, one of ours or of a `path`; decoration only, so it says nothing to a screen reader. */
export function icon(name, path = lookUp(PATHS, name) ?? "") {
  const svg = document.createElementNS(SVG, "svg")
  svg.setAttribute("viewBox", "0 0 24 24")
  svg.setAttribute("class", `icon icon-${name}`)
  svg.setAttribute("aria-hidden", "true")
  const line = document.createElementNS(SVG, "path")
  line.setAttribute("d", path)
  svg.append(line)
  return svg
}

/** Register a custom element once. */
export function define(name, element) {
  if (!customElements.get(name)) customElements.define(name, element)
}

function focusedIn(parent) {
  return parent.contains(document.activeElement) ? document.activeElement : null
}

/** Put `node` in place of all `parent` holds; where the focus was in there, Tab goes on from here. */
export function refill(parent, node) {
  const focused = focusedIn(parent)
  parent.replaceChildren(node)
  if (focused) (focused.isConnected ? focused : node).focus({ preventScroll: true })
}

/** Put `nodes` into `parent` in order, moving as little as possible, so that focus survives. */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes)
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove()
  const focused = focusedIn(parent)
  let at = parent.firstElementChild
  for (const node of nodes) {
    if (node === at) at = at.nextElementSibling
    else parent.insertBefore(node, at)
  }
  // What is moved loses the focus with every browser.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true })
}
