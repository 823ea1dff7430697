// The phone page: /p takes a scan, /c a typed code, /ui shows the session. One shell for all three.

import { fragmentOf } from "../core/protocol.js"
import { h } from "../dom.js"
import { defineCard } from "../elements/card.js"
import { defineConversation } from "../elements/conversation.js"
import { defineQuestion } from "../elements/question.js"
import { deviceName } from "../api.js"
import { codeForm, comparing, enter, excuse, joining, stuck } from "../enter.js"
import { Feed } from "../feed.js"
import { paired, signedIn } from "../keep.js"
import { choose, directionOf, load } from "../words.js"

const root = document.getElementById("app")
const fragment = fragmentOf(location.hash)
// Before anything else: a secret in the address bar ends up in histories and screenshots.
if (location.hash) history.replaceState(null, "", location.pathname + location.search)

for (const register of [defineCard, defineConversation, defineQuestion]) register()

const query = new URLSearchParams(location.search)
const isEmbedded = query.has("embed")
document.documentElement.classList.toggle("is-embedded", isEmbedded)
const wanted = [query.get("lang"), ...navigator.languages]
const language = await speak([])
const place = location.pathname.split("/").at(-1)

if (place === "p") await takeScan()
else if (place === "c") showCodeForm()
else openSession()

/** The page's language: what its address asks for, then the session, then the browser. */
async function speak(session) {
  const { locale, language: name } = choose([wanted[0], ...session, ...wanted.slice(1)])
  document.documentElement.lang = name
  document.documentElement.dir = directionOf(name)
  return { locale, name, words: await load(name) }
}

async function takeScan() {
  const known = paired.find(fragment.sessionId)
  if (fragment.kind === "token") return openSession()
  if (fragment.kind !== "ticket") return openSession()
  show(joining(language.words, fragment.sessionId))
  try {
    const ticket = fragment.value
    arrive(await enter({ ticket }, (verification) => show(comparing(language.words, verification))))
  } catch (error) {
    // Scanned twice with the same phone: it has its seat already.
    if (known && error.status !== 0) return showSession(fragment.sessionId, known.token)
    show(stuck(language.words, excuse(error, language.words), () => takeScan()))
  }
  return undefined
}

function showCodeForm() {
  show(codeForm(language.words, async (code) => {
    arrive(await enter({ code }, (verification) => show(comparing(language.words, verification))))
  }))
}

function arrive({ token, session_id: sessionId, device_id: deviceId }) {
  paired.keep(sessionId, token, deviceId)
  showSession(sessionId, token)
}

function openSession() {
  if (fragment.kind === "token") signedIn.keep(fragment.value)
  const sessionId = query.get("session_id") ?? (signedIn.token() ? null : paired.last())
  const seat = paired.find(sessionId)
  const token = fragment.kind === "token" ? fragment.value : (seat?.token ?? signedIn.token())
  if (token) showSession(sessionId, token)
  else nothingHere()
}

function nothingHere() {
  const { words } = language
  show(h("section", { class: "terminal" },
    h("h1", {}, words("nothing_here_title")),
    h("p", {}, words("nothing_here_text")),
    isEmbedded ? null : h("a", { class: "button primary", href: "c" }, words("type_code"))))
}

function showSession(sessionId, token) {
  const kept = new URLSearchParams(query)
  if (sessionId) kept.set("session_id", sessionId)
  history.replaceState(null, "", `ui?${kept}`)
  const page = { root, main: h("main", { class: "page" }) }
  const target = { sessionId, token, device: deviceName(), isEmbedded }
  new Feed(page, target, language, speak).start()
  document.title = language.words("companion")
}

function show(content) {
  root.replaceChildren(h("main", { class: "page is-single" }, content))
}
