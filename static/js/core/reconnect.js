// When to come back after a connection was lost: pure, with chance passed in.

export const FIRST_DELAY_MS = 250
export const LONGEST_DELAY_MS = 8000

/** Closes of the protocol itself that are worth another try. */
const PASSING = new Set([1001, 1005, 1006, 1009, 1011, 1012, 1013])

/**
 * Whether the same attempt may succeed later.
 * 4000 to 4499 mean "come back", 4500 to 4999 "do not"; a message that was too large costs no seat.
 */
export function mayReturn(code) {
  if (code >= 4000 && code <= 4499) return true
  return PASSING.has(code)
}

/**
 * Milliseconds to wait before attempt number `attempt` (0 is the first).
 * Full jitter: anywhere between nothing and the ceiling, so that a thousand
 * phones do not come back in the same moment. `chance` is in [0, 1).
 */
export function delayMs(attempt, chance) {
  return Math.floor(chance * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16)))
}
