// The connection as a person knows it: connecting, connected, reconnecting, offline or ended.
//
// Why this is more than the phase of a socket. A socket that is tried again goes through `waiting`
// and `connecting` many times a minute, and one without a network stays `open` for seconds. A
// person wants to know one thing: does what I say now arrive, and if not, whose fault is it?
//
// Two facts are folded: the socket's `phase`, and whether the browser says there is a `network`.
// Neither is believed alone. A browser that says "offline" may be wrong (the server runs on this
// very machine), so an open socket is doubted first and asked: an answer clears the doubt, silence
// makes it `silent`. And a socket that opens proves a network, whatever the browser says.
//
//                     open, answered               ended
//   connecting ──► connected ◄────────────┐    ──────────► ended
//                    │  phase lost        │
//                    ├────────────► reconnecting
//                    │ no network         ▲ network is back
//                    └────────────► offline

/** Before anything is known. `wasConnected`: there is a view of an earlier connection. */
export function firstLink({ hasNetwork = true, wasConnected = false } = {}) {
  return { phase: "connecting", hasNetwork, wasConnected, trust: "sure" }
}

/**
 * The link after one `event`; the same object where nothing changed:
 * `{type: "phase", phase}` of the socket (connecting, open, waiting, ended), `{type: "network",
 * isThere}` of the browser, and of an open socket that was asked `{type: "answered"}` or
 * `{type: "unanswered"}`.
 */
export function linkAfter(link, event) {
  const next = { ...link, ...changeOf(link, event) }
  return Object.keys(next).every((name) => Object.is(Reflect.get(next, name), Reflect.get(link, name))) ? link : next
}

function changeOf(link, event) {
  const isOpen = link.phase === "open"
  if (link.phase === "ended") return {}
  switch (event.type) {
    case "phase":
      return event.phase === "open" ? { phase: "open", wasConnected: true, trust: "sure" } : { phase: event.phase, trust: "sure" }
    case "network":
      return { hasNetwork: event.isThere, trust: isOpen && link.trust === "sure" ? "doubted" : link.trust }
    case "answered":
      return isOpen ? { trust: "sure" } : {}
    case "unanswered":
      return isOpen && link.trust === "doubted" ? { trust: "silent" } : {}
    default:
      return {}
  }
}

/** What a person is told: connecting, connected, reconnecting, offline or ended. */
export function knownOf({ phase, hasNetwork, wasConnected, trust }) {
  if (phase === "ended") return "ended"
  if (phase === "open" && trust !== "silent") return "connected"
  if (!hasNetwork) return "offline"
  return wasConnected ? "reconnecting" : "connecting"
}

/** Whether what is said now is surely on its way. */
export function isSure({ phase, trust }) {
  return phase === "open" && trust === "sure"
}
