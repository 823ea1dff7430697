// The sentences of the phone page: English here, other languages fetched when needed.

import { lookUp, plainText } from "../core/protocol.js"

const ENGLISH = {
  yes: "Yes",
  no: "No",
  n_choices: { one: "{n} choice", other: "{n} choices" },
  n_days: { one: "{n} day", other: "{n} days" },
  n_entries: { one: "{n} entry", other: "{n} entries" },
  n_more: { one: "{n} more", other: "{n} more" },
  n_new: { one: "{n} new", other: "{n} new" },
  n_missed: { one: "{n} update while you were away", other: "{n} updates while you were away" },
  n_updates: { one: "{n} update", other: "{n} updates" },
  companion: "Companion",
  agent: "Agent",
  connected: "Connected",
  connecting: "Connecting",
  offline: "Offline",
  here: "here",
  away: "away",
  reconnecting: "Connection lost. Trying again…",
  lost: "Reconnecting",
  ended: "Ended",
  no_network: "This phone is offline. What you tap or type is kept and sent later.",
  as_of: "Shown as of {time}",
  waiting_title: "You’re connected",
  waiting_agent: "The agent is here. What it talks about will appear on this screen.",
  waiting_nobody: "Waiting for the agent to join. Keep this page open.",
  working: "Agent is working…",
  looking_up: "Agent is looking up {label}…",
  information: "information",
  also_here: "Also here: {names}",
  another_screen: "another screen",
  connecting_title: "Connecting…",
  select: "Choose one",
  send: "Send",
  sending: "Sending…",
  queued: "Will send when back online",
  not_said: "Not sent before the end",
  agent_not_here: "The agent is not here yet; it reads this when it joins.",
  agent_has_left: "The agent has left; it reads this when it is back.",
  still_open: "The agent no longer waits for this. You can still answer.",
  choice_closed: "This choice is closed. Your tap came too late.",
  selected: "Selected: {label}",
  change: "Change",
  submitted: "Sent",
  changed_meanwhile: "This has changed in the meantime. Please choose again.",
  not_sent: "Not sent. Tap to try again.",
  too_long: "That is too long to send. Please shorten it.",
  show_more: "Show more",
  captions: "Conversation",
  you: "You",
  show_captions: "Show conversation",
  read_captions: "Read captions aloud",
  type_instead: "Type instead of speaking",
  refused_title: "This link does not open the session",
  scan_again_text: "Point your camera at the code on the other screen.",
  type_code: "Type a code",
  expiring: "This session closes soon.",
  keep_open: "Keep it open",
  pairing_session: "Session {id}",
  used_title: "This code has already been used or has expired",
  used_text: "Codes work once and only for a short time. Get a new one from the other screen.",
  confirm_title: "Does the other screen show this number?",
  confirm_text: "If it does, confirm there to let this phone join.",
  confirm_refused: "The other screen declined",
  code_limited: "Too many tries. Wait a moment, then try again.",
  no_server: "The server cannot be reached. Check that this phone is on the same network.",
  try_again: "Try again",
  still_trying: "Trying again…",
  could_not_show: "This could not be shown",
  nothing_here_title: "No session on this phone",
  nothing_here_text: "Scan the code on the other screen to join.",
  plain_http: "With HTTPS this page can keep your screen on.",
}

/** Languages with a file of their own in words/. */
const LANGUAGES = new Map([
  ["ar", () => import("./ar.js")],
  ["de", () => import("./de.js")],
  ["es", () => import("./es.js")],
  ["fr", () => import("./fr.js")],
  ["it", () => import("./it.js")],
  ["nl", () => import("./nl.js")],
  ["pt", () => import("./pt.js")],
  ["zh", () => import("./zh.js")],
])
const RIGHT_TO_LEFT = new Set(["ar", "he", "fa", "ur"])

/** `tag` as the engine writes it, or null where it is no language (WebKit may say "C"). */
export function canonical(tag) {
  try {
    return Intl.getCanonicalLocales(tag)[0] ?? null
  } catch {
    return null
  }
}

/**
 * The first of `wanted` this page speaks: `{locale, language}`.
 * `locale` keeps its region, for numbers and dates.
 */
export function choose(wanted) {
  for (const tag of wanted) {
    const locale = tag ? canonical(tag) : null
    const language = locale?.split("-")[0]
    if (language === "en" || LANGUAGES.has(language)) return { locale, language }
  }
  return { locale: "en", language: "en" }
}

/** `rtl` or `ltr`. */
export function directionOf(language) {
  return RIGHT_TO_LEFT.has(language) ? "rtl" : "ltr"
}

/** The sentences of `language`, with numbers as `locale` writes them; English where a file or sentence is missing. */
export async function load(language, locale = language) {
  if (!LANGUAGES.has(language)) return speak(ENGLISH, "en", locale)
  try {
    const { default: own } = await LANGUAGES.get(language)()
    return speak({ ...ENGLISH, ...own }, language, locale)
  } catch {
    return speak(ENGLISH, "en")
  }
}

/** `words(key, {n, …})`: a sentence with its blanks filled in; `words.learn(more)` adds sentences. */
function speak(known, language, locale = language) {
  const sentences = { ...known }
  const plural = new Intl.PluralRules(language)
  const number = new Intl.NumberFormat(locale)
  const words = (key, blanks = {}) => {
    const entry = lookUp(sentences, key) ?? key
    const text = typeof entry === "string" ? entry : (lookUp(entry, plural.select(blanks.n)) ?? entry.other)
    return text.replace(/\{(\w+)\}/g, (_, name) => {
      const blank = lookUp(blanks, name)
      return typeof blank === "number" ? number.format(blank) : plainText(blank)
    })
  }
  return Object.assign(words, { language, learn: (more) => Object.assign(sentences, more) })
}

export const english = speak(ENGLISH, "en")
export const sentenceKeys = Object.keys(ENGLISH)
