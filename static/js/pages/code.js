// The form of /c: nine typed digits.

import { groupedCode } from "../core/protocol.js"
import { fillIn, h, icon } from "../dom.js"

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
