// The messages of the protocol: text to values and back, nothing else.

const BASE64URL = /^[A-Za-z0-9_-]+$/

/** Return the message in `text`, or null where it is none: a page never dies of what it was sent. */
export function decode(text) {
  if (typeof text !== "string") return null
  try {
    const message = JSON.parse(text)
    return isPlain(message) && typeof message.type === "string" ? message : null
  } catch {
    return null
  }
}

/** Whether `value` is a JSON object. */
export function isPlain(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** A fresh id from `bytes` of chance: plain HTTP pages have no crypto.randomUUID. */
export function idFrom(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
}

/** The call inside a `client_tool_call` record, nested or flat. */
export function callOf(record) {
  const call = isPlain(record.client_tool_call) ? record.client_tool_call : record
  return {
    id: String(call.tool_call_id ?? ""),
    name: String(call.tool_name ?? ""),
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
    original: String(nested.original_agent_response ?? ""),
    corrected: String(nested.corrected_agent_response ?? ""),
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

/** Nine digits as people say them: three groups. */
export function groupedCode(code) {
  return String(code).replace(/\D/g, "").slice(0, 9).replace(/(\d{3})(?=\d)/g, "$1 ")
}
