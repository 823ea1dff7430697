// What the owner's pages share: signing in, asking before it is too late, copying, saving.

import { ask, serverClock } from "../net/api.js"
import { fragmentOf } from "../core/protocol.js"
import { fillIn, h, icon } from "./dom.js"
import { BASE } from "../net/place.js"
import { readdress, signedIn } from "../net/storage.js"

/**
 * The token this tab is signed in with, or null. A link's fragment is read once and
 * hidden at once; a start-up ticket is traded for a token.
 */
export async function signIn() {
  hideInspectorFromAfar()
  const fragment = fragmentOf(location.hash)
  if (location.hash) readdress(location.pathname + location.search)
  if (fragment.kind === "token") signedIn.save(fragment.value)
  if (fragment.kind === "signin") {
    const { body } = await ask("POST", "sign-in", { body: { ticket: fragment.value } })
    signedIn.save(body.token)
  }
  return signedIn.token()
}

/** Only the server's own machine opens the inspector; elsewhere its link would lead nowhere. */
async function hideInspectorFromAfar() {
  const link = document.querySelector(".owner-bar a[href$=admin]:not([aria-current])")
  const answer = await fetch(new URL("admin", BASE), { method: "HEAD" }).catch(() => null)
  if (link && answer?.status === 404) link.hidden = true
}

export function signOut() {
  signedIn.save(null)
}

/** The form of a page nobody is signed in to; `onToken(token)`. */
export function signInForm(onToken, reason = "") {
  const box = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false" })
  const submit = (event) => {
    event.preventDefault()
    const token = box.value.trim()
    if (token === "") return
    signedIn.save(token)
    onToken(token)
  }
  return h("section", { class: "sign-in" },
    h("h1", {}, "Sign in"),
    reason ? h("p", { class: "note", role: "alert" }, reason) : null,
    h("p", {}, "Open the link that the server printed when it started, or get a new one:"),
    command("companion-ws open"),
    h("form", { class: "form", on: { submit } },
      h("div", { class: "field" }, h("label", { for: "token" }, "Or paste a token"), box),
      h("button", { type: "submit", class: "primary" }, "Sign in")))
}

/** A command to copy. */
export function command(text) {
  const words = text.split(" ").flatMap((word) => [h("span", {}, word), " "])
  return h("div", { class: "command" }, h("code", {}, words), copyButton(text, "Copy command"))
}

/** A button that copies `text`, on plain HTTP too. */
export function copyButton(text, label) {
  const button = h("button", { type: "button", class: "quiet icon-only", "aria-label": label, title: label }, icon("copy"))
  button.addEventListener("click", async () => {
    const done = await copy(text)
    fillIn(button, icon(done ? "check" : "close"))
    setTimeout(() => fillIn(button, icon("copy")), 1500)
  })
  return button
}

/** Copy `text`; tells whether it worked. A page without HTTPS has only the old way. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const box = h("textarea", { readonly: true, class: "unseen", value: text })
    document.body.append(box)
    box.select()
    const done = document.execCommand("copy")
    box.remove()
    return done
  }
}

/** Ask a question that must not be overlooked: resolves to true or false. */
export function confirmed(title, text, yes, { no = "Cancel", danger = false } = {}) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "ask", "aria-label": title },
      h("h2", {}, title), text instanceof Node ? text : h("p", {}, text),
      h("form", { method: "dialog", class: "pair" },
        h("button", { class: "secondary", value: "no" }, no),
        h("button", { class: danger ? "primary is-danger" : "primary", value: "yes" }, yes)))
    dialog.addEventListener("close", () => {
      dialog.remove()
      resolve(dialog.returnValue === "yes")
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}

/** Save `text` as a file. */
export function save(name, text, type = "application/jsonl") {
  const url = URL.createObjectURL(new Blob([text], { type }))
  h("a", { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

/** Every record of a session, page by page. */
export async function allRecords(token, sessionId) {
  const records = []
  let after = 0
  while (after !== null) {
    const { body } = await ask("GET", `sessions/${sessionId}/records?after=${after}&limit=500`, { token })
    records.push(...body.records)
    after = body.records.length ? (body.next ?? null) : null
  }
  return records
}

/** "5 minutes ago". */
export function ago(ms, nowMs = serverClock.nowMs) {
  const away = ms - nowMs
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" })
  if (Math.abs(away) < 45_000) return "just now"
  for (const [unit, length] of [["day", 86_400_000], ["hour", 3_600_000]]) {
    if (Math.abs(away) >= length) return format.format(Math.round(away / length), unit)
  }
  return format.format(Math.round(away / 60_000), "minute")
}

/** "1 record", "2 records". */
export function count(number, one) {
  return `${number} ${one}${number === 1 ? "" : "s"}`
}

/** "4:05" for milliseconds. */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000))
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`
}
