// The messages of the protocol: text to values and back, nothing else.

const BASE64URL = /^[A-Za-z0-9_-]+$/
/** One line of text is no longer: nobody reads on. */
export const MAX_TEXT = 4096
/** Nobody reads further down than this in one line of text. */
const MAX_DEPTH = 6

/**
 * Return the message in `text`, or null where it is none: a page never dies of what it was sent.
 * Each field that is known has its own type afterwards; one of another type counts as absent.
 */
export function decode(text) {
  if (typeof text !== "string") return null
  try {
    const message = JSON.parse(text)
    return isPlain(message) && typeof message.type === "string" ? sane(message) : null
  } catch {
    return null
  }
}

const asText = (value) => (["string", "number", "boolean"].includes(typeof value) ? String(value) : undefined)
const asNumber = (value) => (Number.isFinite(value) ? value : undefined)
/** Milliseconds that stand for a time: what a Date can hold. */
const asTime = (value) => (Math.abs(value) <= 8.64e15 && typeof value === "number" ? value : undefined)
const asPlain = (value) => (isPlain(value) ? value : undefined)
const asWho = (value) => (isPlain(value) ? sane(value) : undefined)
const asMany = (value) => (Array.isArray(value) ? value.filter(isPlain).map(sane) : undefined)
const asEntries = (value) => (isPlain(value) ? Object.fromEntries(Object.entries(value).filter(([, entry]) => isPlain(entry))) : undefined)

/** What the fields of messages are, whatever the message. `value`, `data`, `ui`, `result` may be anything. */
const TYPES = [
  [asText, "type text key context_id tool_call_id tool_name in_reply_to session_id epoch recovery title language user role"],
  [asText, "device device_id connection_id conversation_id reason name target surface_id action_id code message event requestId"],
  [asText, "url media_id media_type answered_by handled_by verification pairing_id token screen problem joins traceparent"],
  [asNumber, "seq first_seq of_seq revision retry_after_ms"],
  [asTime, "timestamp expires_at since at open_until"],
  [asPlain, "user_transcription_event agent_response_event agent_response_correction_event conversation_initiation_metadata_event"],
  [asPlain, "client_tool_call labels agent_tool_request agent_tool_response"],
  [asWho, "sender"],
  [asMany, "presence open_calls cards media"],
  [asEntries, "state"],
]
const TYPE_OF = new Map(TYPES.flatMap(([read, names]) => names.split(" ").map((name) => [name, read])))

function sane(message) {
  const read = ([name, value]) => {
    const type = TYPE_OF.get(name)
    return [name, type && value !== null ? type(value) : value]
  }
  return Object.fromEntries(Object.entries(message).map(read).filter(([, value]) => value !== undefined))
}

/** Whether `value` is a JSON object. */
export function isPlain(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/**
 * What `object` itself has under `name`; undefined where it has nothing of its own there.
 * A name that came in a message may be `__proto__` or `valueOf`, so it is looked up here alone.
 */
export function lookUp(object, name) {
  const isThere = (typeof object === "object" || typeof object === "function") && object !== null && Object.hasOwn(object, name)
  return isThere ? object[name] : undefined
}

/** What JSON can hold, as one line: texts as they are, lists and objects spelled out, null as nothing. */
export function plainText(value, depth = 0) {
  if (typeof value === "string") return value
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : ""
  if (typeof value === "boolean" || typeof value === "bigint") return String(value)
  if (typeof value !== "object" || value === null) return ""
  if (depth >= MAX_DEPTH) return "…"
  const isList = Array.isArray(value)
  const parts = []
  let length = 0
  for (const [key, part] of Object.entries(value)) {
    const text = plainText(part, depth + 1)
    if (text === "") continue
    parts.push(isList ? text : `${key}: ${text}`)
    length += text.length
    if (length > MAX_TEXT) break
  }
  return parts.join(", ")
}

/** A fresh id from `bytes` of chance: plain HTTP pages have no crypto.randomUUID. */
export function idFrom(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
}

/** The call inside a `client_tool_call` record, nested or flat. */
export function callOf(record) {
  const call = isPlain(record.client_tool_call) ? record.client_tool_call : record
  return {
    id: plainText(call.tool_call_id),
    name: plainText(call.tool_name),
    parameters: isPlain(call.parameters) ? call.parameters : {},
    expectsResponse: call.expects_response !== false,
  }
}

/** What a `result` text says: its JSON object, or `{status: null, text}` for anything else. */
export function resultOf(text) {
  try {
    const result = JSON.parse(text)
    if (isPlain(result)) return result
  } catch {
    // Plain prose is a result too.
  }
  return { status: null, text: typeof text === "string" ? text : "" }
}

/** What a transcript message says and who says it, in ElevenLabs' nesting or flat; else null. */
export function spokenIn(message) {
  if (message.type === "user_transcript") {
    const nested = message.user_transcription_event
    return line("user", nested?.user_transcript ?? message.user_transcript ?? message.text)
  }
  if (message.type === "agent_response") {
    const nested = message.agent_response_event
    return line("agent", nested?.agent_response ?? message.agent_response ?? message.text)
  }
  return null
}

/** The two texts of an `agent_response_correction`. */
export function correctionIn(message) {
  const nested = message.agent_response_correction_event ?? message
  return {
    original: plainText(nested.original_agent_response),
    corrected: plainText(nested.corrected_agent_response),
  }
}

function line(who, text) {
  return typeof text === "string" && text.trim() !== "" ? { who, text } : null
}

/**
 * What the fragment of an address carries.
 * `#TICKET.SESSION` of a QR code, `#token=…` of a signed link or `#signin=…` of the
 * start-up line: `{kind: "ticket"|"token"|"signin"|"none", value, sessionId}`.
 */
export function fragmentOf(hash) {
  const text = hash.replace(/^#/, "")
  const named = /^(token|signin)=(.+)$/.exec(text)
  if (named) return { kind: named[1], value: unescape(named[2]), sessionId: null }
  const [ticket, session = ""] = text.split(".")
  if (!BASE64URL.test(ticket)) return { kind: "none", value: "", sessionId: null }
  return { kind: "ticket", value: ticket, sessionId: uuidFrom(session) }
}

function unescape(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The UUID that 22 characters of base64url stand for, or null. */
export function uuidFrom(text) {
  if (text.length !== 22 || !BASE64URL.test(text)) return null
  const raw = atob(text.replaceAll("-", "+").replaceAll("_", "/"))
  const hex = idFrom(Array.from(raw, (letter) => letter.charCodeAt(0)))
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-")
}

/** Nine digits as people say them: three groups; of a sentence around them, they alone. */
export function groupedCode(code) {
  const digits = codeIn(code) ?? plainDigits(plainText(code)).replace(/\D/g, "")
  return digits.slice(0, 9).replace(/(\d{3})(?=\d)/g, "$1 ")
}

/**
 * The nine digits somebody typed, pasted or was read, or null: in any script's digits, with
 * whatever stands between and around them. The twin of `digits_of` in
 * companion_ws/access/derived.py; tests/wire/codes holds both to the same cases.
 */
export function codeIn(text) {
  const plain = plainDigits(plainText(text))
  const all = plain.replace(/\D/g, "")
  if (all.length === 9) return all
  // In a sentence with other numbers: nine that stand together.
  const groups = plain.match(/\d(?:[\s\p{Pd}._·/]{0,3}\d)*/gu) ?? []
  const whole = groups.map((group) => group.replace(/\D/g, "")).filter((digits) => digits.length === 9)
  return whole.length === 1 ? whole.at(0) : null
}

/** Every script's digits as 0 to 9, without what cannot be seen. */
export function plainDigits(text) {
  const value = (digit) => {
    // The digits of a script stand side by side, from its zero on.
    const code = digit.codePointAt(0)
    let before = 0
    while (before < 100 && /\p{Nd}/u.test(String.fromCodePoint(code - before - 1))) before += 1
    return String(before % 10)
  }
  return text.slice(0, MAX_TEXT).normalize("NFKC").replace(/\p{Cf}/gu, "").replace(/\p{Nd}/gu, value)
}
