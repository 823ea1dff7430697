// The form of /c: nine typed digits.

import { codeIn, groupedCode } from "../core/protocol.js"
import { fillIn, h, icon } from "../elements/dom.js"
import { learnToAsk } from "../words/asking.js"

/** Let `words` say what stands on the form. */
export const prepare = learnToAsk

/** The form for nine digits; `onCode(code, onAway)` resolves, or rejects with a Refusal. */
export function codeForm(words, onCode) {
  const box = h("input", {
    id: "code", type: "text", inputmode: "numeric", autocomplete: "one-time-code",
    placeholder: "000 000 000", "aria-describedby": "code-note", autofocus: true,
  })
  const note = h("p", { class: "note", id: "code-note", role: "alert" })
  const button = h("button", { type: "submit", class: "primary" }, words("join"))
  let hurry = null
  const tidy = (event) => {
    // Who composes a character has not written it yet.
    if (event.isComposing) return
    const atEnd = box.selectionStart === box.value.length
    const digits = groupedCode(box.value)
    if (atEnd && digits !== box.value) box.value = digits
    note.textContent = ""
  }
  box.addEventListener("input", tidy)
  box.addEventListener("compositionend", tidy)
  const submit = async (event) => {
    event.preventDefault()
    if (hurry) return hurry()
    const code = codeIn(box.value)
    if (code === null) return complain("code_short")
    button.disabled = true
    try {
      await onCode(code, (resolve) => {
        hurry = resolve
        button.disabled = false
        button.textContent = words("try_again")
        fillIn(note, `${words("no_server")} ${words("still_trying")}`)
      })
    } catch (error) {
      complain(error.status === 429 ? "code_limited" : [400, 403, 404, 410].includes(error.status) ? "code_wrong" : "no_server")
    } finally {
      hurry = null
      button.disabled = false
      button.textContent = words("join")
    }
    return undefined
  }
  const complain = (key) => {
    fillIn(note, icon("close"), words(key))
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
