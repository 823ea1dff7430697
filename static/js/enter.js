// How a phone gets in: the ticket of a scan, or nine typed digits.

import { ask, deviceName, Refusal } from "./api.js"
import { groupedCode } from "./core/protocol.js"
import { h, icon } from "./dom.js"

const ASK_AGAIN_MS = 1000

/**
 * Trade a ticket or code for a token: `{token, session_id, device_id}`.
 * Where the owner must say yes first, `onWait(verification)` tells what to compare.
 */
export async function enter(proof, onWait) {
  let answer = await ask("POST", "pair", { body: { ...proof, device: deviceName() } })
  while (answer.status === 202) {
    const { claim, verification } = answer.body
    onWait(verification)
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS))
    answer = await patiently(() => ask("POST", "pair", { body: { claim } }), { claim, verification })
  }
  return answer.body
}

/** A network that blinks while the owner thinks costs nothing. */
async function patiently(attempt, body) {
  try {
    return await attempt()
  } catch (error) {
    if (error instanceof Refusal && (error.status === 0 || error.status >= 500)) return { status: 202, body }
    throw error
  }
}

/** What a person reads when `error` kept them out: `{title, text}`. */
export function excuse(error, words) {
  if (error.status === 0) return { title: words("no_server"), text: "", mayRetry: true }
  if (error.code === "pairing_refused") return { title: words("confirm_refused"), text: words("used_text") }
  if (error.status === 429) return { title: words("code_limited"), text: "", mayRetry: true }
  return { title: words("used_title"), text: words("used_text") }
}

/** The page while it joins. */
export function joining(words, sessionId) {
  return h("section", { class: "waiting", role: "status" },
    h("div", { class: "breath", "aria-hidden": "true" }, h("i"), h("i"), h("i")),
    h("h1", {}, words("pairing_title")),
    sessionId ? h("p", { class: "muted fine" }, words("pairing_session", { id: sessionId })) : null)
}

/** The page while the owner compares two digits. */
export function comparing(words, verification) {
  return h("section", { class: "waiting", role: "status" },
    h("h1", {}, words("confirm_title")),
    h("p", { class: "verification" }, verification),
    h("p", {}, words("confirm_text")))
}

/** A way on, when something went wrong. */
export function stuck(words, { title, text, mayRetry }, retry = null) {
  return h("section", { class: "terminal", role: "alert" },
    h("h1", {}, title),
    text ? h("p", {}, text) : null,
    mayRetry && retry ? h("button", { type: "button", class: "primary", on: { click: retry } }, words("try_again")) : null,
    h("a", { class: "button secondary", href: "c" }, words("type_code")))
}

/** The form for nine digits; `onCode(code)` resolves, or rejects with a Refusal. */
export function codeForm(words, onCode) {
  const box = h("input", {
    id: "code", type: "text", inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9 ]*",
    maxlength: "13", placeholder: "000 000 000", "aria-describedby": "code-note", autofocus: true,
  })
  const note = h("p", { class: "note", id: "code-note", role: "alert" })
  const button = h("button", { type: "submit", class: "primary" }, words("join"))
  box.addEventListener("input", () => {
    const atEnd = box.selectionStart === box.value.length
    const digits = groupedCode(box.value)
    if (atEnd && digits !== box.value) box.value = digits
    note.textContent = ""
  })
  const submit = async (event) => {
    event.preventDefault()
    const code = box.value.replace(/\D/g, "")
    if (code.length !== 9) return complain("code_short")
    button.disabled = true
    try {
      await onCode(code)
    } catch (error) {
      complain(error.status === 0 ? "no_server" : error.status === 429 ? "code_limited" : "code_wrong")
    } finally {
      button.disabled = false
    }
    return undefined
  }
  const complain = (key) => {
    note.replaceChildren(icon("close"), words(key))
    box.setAttribute("aria-invalid", "true")
    box.focus()
    box.select()
  }
  return h("form", { class: "code-form", novalidate: true, on: { submit } },
    h("h1", {}, words("code_title")),
    h("p", { class: "muted" }, words("code_text")),
    h("label", { for: "code", class: "unseen" }, words("code_label")),
    box, note, button)
}
