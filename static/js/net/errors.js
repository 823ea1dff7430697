// The errors a client of a companion session gives to its caller.

/** What the server refused; `code` is its word for why, `details` what else it said. */
export class CompanionError extends Error {
  constructor(code, message, details = {}) {
    super(message)
    Object.assign(this, { name: new.target.name, code, details })
  }
}

/** `ifRevision` does not hold; `details` are the current `value` and `revision`. */
export class RevisionConflict extends CompanionError {}

/** A tool answered with an error; `result` is its parsed result. */
export class ToolFailed extends Error {
  constructor(toolName, result) {
    super(`${toolName}: ${typeof result === "string" ? result : JSON.stringify(result)}`)
    Object.assign(this, { name: "ToolFailed", toolName, result })
  }
}

/** The session cannot be reached any more; `code` and `reason` are the server's, or `code` is null. */
export class CompanionClosed extends Error {
  constructor(code, reason) {
    super([code, reason].filter((part) => part !== null && part !== "").join(": "))
    Object.assign(this, { name: "CompanionClosed", code, reason })
  }
}

/** The error of what the server answers, as a message or as a route's problem. */
export function errorOf({ type, code, message, requestId, session_id: session, timestamp, status, title, detail, ...details }) {
  const Refusal = code === "revision_conflict" ? RevisionConflict : CompanionError
  return new Refusal(code ?? "internal", message ?? "", details)
}
