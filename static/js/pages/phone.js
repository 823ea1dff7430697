// The phone page: /p takes a scan, /c a typed code, /ui shows the session. One shell for all three.

import { fragmentOf } from "../core/protocol.js"
import { fillIn, h } from "../elements/dom.js"
import { defineCard } from "../elements/card.js"
import { defineConversation } from "../elements/conversation.js"
import { ask, deviceName, Refusal } from "../net/api.js"
import { Feed } from "../screen/feed.js"
import { newId } from "../net/outbox.js"
import { paired, readdress, signedIn, takeAway, views } from "../net/storage.js"
import { choose, directionOf, load } from "../words/words.js"

/** How often a phone asks whether the owner has said yes. */
const ASK_AGAIN_MS = 1000
/** A server restarts, a phone changes its network, a proxy has a bad minute. */
const TRY_FOR_MS = 60_000
const FIRST_PAUSE_MS = 300
const LONGEST_PAUSE_MS = 4000
const ANSWER_MS = 15_000
/** A pause this long is worth a word. */
const TELL_AFTER_TRIES = 2
/** One key per ticket or code: where the answer got lost, the server gives the same seat again. */
const keys = new Map()

const root = document.getElementById("app")
const fragment = fragmentOf(location.hash)
// Before anything else: a secret in the address bar ends up in histories and screenshots.
if (location.hash) readdress(location.pathname + location.search)

// Whatever this visit is for: what is older than a day is not kept on a phone.
views.forgetOld()
takeAway.load()

for (const register of [defineCard, defineConversation]) register()

const query = new URLSearchParams(location.search)
const isEmbedded = query.has("embed")
document.documentElement.classList.toggle("is-embedded", isEmbedded)
const wanted = [query.get("lang"), ...(navigator.languages ?? [navigator.language])]
/** The page's language, once its words are here; what a scan asks the server is asked meanwhile. */
let language
const speaking = speak([]).then((found) => (language = found))
const place = location.pathname.split("/").at(-1)

if (place === "p") await takeScan()
else speaking.then(place === "c" ? showCodeForm : openSession)

/** The page's language: what its address asks for, then the session, then the browser. */
async function speak(session) {
  const { locale, language: name } = choose([wanted[0], ...session, ...wanted.slice(1)])
  document.documentElement.lang = name
  document.documentElement.dir = directionOf(name)
  return { locale, name, words: await load(name, locale) }
}

async function takeScan() {
  const known = paired.find(fragment.sessionId)
  if (fragment.kind !== "ticket") {
    // In a tab of an owner who is signed in: a link that lost its ticket opens no session of its own.
    const isOwners = fragment.kind !== "token" && signedIn.token()
    return speaking.then(isOwners ? nothingHere : openSession)
  }
  try {
    const [, seat] = await Promise.all([
      speaking.then(() => show(joining(language.words, fragment.sessionId))),
      enter({ ticket: fragment.value }, {
        onWait: (verification) => show(comparing(language.words, verification)),
        onAway: (hurry) => show(stuck(language.words, away(language.words), hurry)),
      }),
    ])
    arrive(seat)
  } catch (error) {
    // Scanned twice with the same phone: it has its seat already.
    if (known && isUsed(error)) return showSession(fragment.sessionId, known.token)
    show(stuck(language.words, excuse(error, language.words), () => takeScan()))
  }
  return undefined
}

async function showCodeForm() {
  // Who scans never types.
  const { codeForm, prepare } = await import("./code.js")
  await prepare(language.words)
  show(codeForm(language.words, async (code, onAway) => {
    arrive(await enter({ code }, { onWait: (verification) => show(comparing(language.words, verification)), onAway }))
  }))
}

function arrive({ token, session_id: sessionId, device_id: deviceId, is_asking: isAsking }) {
  paired.save(sessionId, token, deviceId)
  takeAway.clear()
  showSession(sessionId, token, { isAsking })
}

function openSession() {
  if (fragment.kind === "token") signedIn.save(fragment.value)
  const sessionId = query.get("session_id") ?? (signedIn.token() ? null : paired.last())
  const seat = paired.find(sessionId)
  const token = fragment.kind === "token" ? fragment.value : (seat?.token ?? signedIn.token())
  const kept = isEmbedded || token ? null : takeAway.load(sessionId)
  if (kept) showSession(kept.session.id, null, { kept })
  else if (token) showSession(sessionId, token)
  else nothingHere()
}

function cleared() {
  readdress("ui")
  nothingHere()
}

function nothingHere() {
  const { words } = language
  show(h("section", { class: "terminal" },
    h("h1", {}, words("nothing_here_title")),
    h("p", {}, words("nothing_here_text")),
    isEmbedded ? null : h("a", { class: "button primary", href: "c" }, words("type_code"))))
}

/** `kept` is the take-away of a session that is over; `isAsking` says that a question is open. */
function showSession(sessionId, token, { kept = null, isAsking = false } = {}) {
  const parameters = new URLSearchParams(query)
  if (sessionId) parameters.set("session_id", sessionId)
  readdress(`ui?${parameters}`)
  const page = { root, main: h("main", { class: "page" }) }
  const target = { sessionId, token, device: deviceName(), isEmbedded, kept, onCleared: cleared }
  new Feed(page, target, language, speak).start({ isAsking })
  document.title = language.words("companion")
}

function show(content) {
  fillIn(root, h("main", { class: "page is-single" }, content))
}

// Getting in: the ticket of a scan, or nine typed digits

/**
 * Trade a ticket or code for a token: `{token, session_id, device_id}`.
 * Where the owner must say yes first, `onWait(verification)` tells what to compare; while the
 * server is away, `onAway(hurry)` says so, and `hurry()` tries at once.
 */
async function enter(proof, { onWait, onAway }) {
  const secret = proof.ticket ?? proof.code
  if (!keys.has(secret)) keys.set(secret, newId())
  const headers = { "Idempotency-Key": keys.get(secret) }
  const body = { ...proof, device: deviceName() }
  let answer = await insistently(() => pair({ body, headers }), onAway)
  while (answer.status === 202) {
    const { claim, verification } = answer.body
    onWait(verification)
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS))
    answer = await patiently(() => pair({ body: { claim } }), { claim, verification })
  }
  return answer.body
}

/** What came of it is told in words, so it waits for these. */
async function pair(request) {
  const asked = ask("POST", "pair", { ...request, withinMs: ANSWER_MS })
  const [answered] = await Promise.allSettled([asked, speaking])
  if (answered.status === "rejected") throw answered.reason
  const answer = answered.value
  const { token, claim } = answer.body
  if (typeof (answer.status === 202 ? claim : token) !== "string") throw new Refusal(0, "unreachable", "Not the server's answer.")
  return answer
}

/** Whether the server could not be asked, or cannot say now. */
function isAway(error) {
  return error.status === 0 || error.status >= 500 || error.status === 408
}

/** Whether a ticket or code lets nobody in any more; only the server itself can say that. */
function isUsed(error) {
  return error.status === 404
}

/** Try again where no answer of the server came, for a minute. */
async function insistently(attempt, onAway) {
  const until = performance.now() + TRY_FOR_MS
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt()
    } catch (error) {
      if (!isAway(error) || performance.now() > until) throw error
      await new Promise((resolve) => {
        setTimeout(resolve, Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tries))
        addEventListener("online", resolve, { once: true })
        if (tries >= TELL_AFTER_TRIES) onAway(resolve)
      })
    }
  }
}

/** A network that blinks while the owner thinks costs nothing. */
async function patiently(attempt, body) {
  try {
    return await attempt()
  } catch (error) {
    if (error instanceof Refusal && isAway(error)) return { status: 202, body }
    throw error
  }
}

/** What a person reads when `error` kept them out: `{title, text}`. */
function excuse(error, words) {
  if (error.code === "pairing_refused") return { title: words("confirm_refused"), text: words("used_text") }
  if (isUsed(error) || error.code === "pairing_expired") return { title: words("used_title"), text: words("used_text") }
  if (error.status === 429) return { title: words("code_limited"), text: "", mayRetry: true }
  if (error.status === 400) return { title: words("refused_title"), text: words("scan_again_text") }
  return { title: words("no_server"), text: "", mayRetry: true }
}

/** The same while it is tried again without being asked to. */
function away(words) {
  return { title: words("no_server"), text: words("still_trying"), mayRetry: true }
}

/** The page while it joins: what the document itself shows before, and nothing in it moves. */
function joining(words, sessionId) {
  return h("section", { class: "waiting", role: "status" },
    h("div", { class: "breath", "aria-hidden": "true" }, h("i"), h("i"), h("i")),
    h("h1", {}, words("connecting_title")),
    h("p", { class: "muted fine" }, sessionId ? words("pairing_session", { id: sessionId.slice(0, 8) }) : "\u00a0"))
}

/** The page while the owner compares two digits. */
function comparing(words, verification) {
  return h("section", { class: "waiting", role: "status" },
    h("h1", {}, words("confirm_title")),
    h("p", { class: "verification" }, verification),
    h("p", {}, words("confirm_text")))
}

/** A way on, when something went wrong. */
function stuck(words, { title, text, mayRetry }, retry = null) {
  return h("section", { class: "terminal", role: "alert" },
    h("h1", {}, title),
    text ? h("p", {}, text) : null,
    mayRetry && retry ? h("button", { type: "button", class: "primary", on: { click: retry } }, words("try_again")) : null,
    h("a", { class: mayRetry ? "button secondary" : "button primary", href: "c" }, words("type_code")))
}
