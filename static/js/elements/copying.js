// Values that copy by a tap, on plain HTTP too: a clipboard API is only there over HTTPS.

import { copyOf } from "../core/take-away.js"
import { fillIn, h, icon } from "./dom.js"

const TICKED_MS = 2000

/** Put `text` on the clipboard; whether that worked. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return copySelected(text)
  }
}

/** As pages did before there was a clipboard to ask: select it in a box nobody sees, and copy that. */
function copySelected(text) {
  const focused = document.activeElement
  const box = h("textarea", { class: "unseen", readonly: true, value: text, "aria-hidden": "true" })
  document.body.append(box)
  try {
    box.focus({ preventScroll: true })
    box.setSelectionRange(0, text.length)
    return document.execCommand("copy")
  } catch {
    return false
  } finally {
    box.remove()
    focused?.focus({ preventScroll: true })
  }
}

/**
 * Let every code, number, address and link within `node` be copied by a tap; may be called again.
 * `onCopied(worked)` after each tap.
 */
export function makeCopyable(node, words, onCopied) {
  for (const holder of node.querySelectorAll(".rows dd, .chips li, .table td")) {
    if (holder.querySelector(".copy")) continue
    const copied = copyOf(valueIn(holder))
    if (copied !== null) offer(holder, copied, words, onCopied)
  }
}

function valueIn(holder) {
  const [link, ...others] = holder.querySelectorAll("a[href]")
  const label = holder.matches("dd") ? (holder.previousElementSibling?.textContent ?? "") : ""
  const kind = holder.querySelector("time") ? "time" : (/\bcell-(\w+)/.exec(holder.className)?.[1] ?? "text")
  // A link alone is what it leads to; one in a sentence is a part of that.
  const isLink = link && others.length === 0 && (kind === "link" || holder.textContent.trim() === link.textContent.trim())
  return isLink ? { kind: "link", text: link.textContent, href: link.href } : { kind, text: holder.textContent, label }
}

function offer(holder, text, words, onCopied) {
  const sign = h("span", { class: "copy-sign" }, icon("copy"))
  const name = words("copy", { label: text })
  // What has a tap of its own, or is more than a line of text, gets a button beside it.
  const isBeside = holder.querySelector("a, button, p, ul, ol, pre, details") !== null
  const button = h("button", { type: "button", class: isBeside ? "copy is-beside" : "copy", "aria-label": name, on: { click: async () => {
    const worked = await copyText(text)
    if (!worked) getSelection().selectAllChildren(holder)
    else tick(sign)
    onCopied(worked)
  } } }, isBeside ? [] : [...holder.childNodes], sign)
  if (isBeside) holder.append(button)
  else fillIn(holder, button)
}

function tick(sign) {
  fillIn(sign, icon("check"))
  setTimeout(() => fillIn(sign, icon("copy")), TICKED_MS)
}
