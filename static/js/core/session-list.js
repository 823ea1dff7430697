// In which order sessions are listed: those somebody is in, then the others, then those that ended.

import { lookUp } from "./protocol.js"

/** By the value of the choice: what it is called, and which of two sessions comes first. */
export const ORDERS = {
  active: { label: "Last active", compare: (a, b) => b.last_active_at - a.last_active_at },
  newest: { label: "Newest", compare: (a, b) => b.created_at - a.created_at },
  title: { label: "Title", compare: (a, b) => !a.title - !b.title || a.title.localeCompare(b.title, "en", { numeric: true }) },
}

/** 0 for a live session, 1 for one nobody is in, 2 for one that has ended. */
export function standing({ ended_at: endedAt, connections = {} }) {
  if (endedAt) return 2
  return lookUp(connections, "agent") > 0 || lookUp(connections, "ui") > 0 ? 0 : 1
}

/** `sessions` in the order called `order`; where that says nothing, the newest come first. */
export function sorted(sessions, order) {
  const { compare } = lookUp(ORDERS, order) ?? ORDERS.active
  return [...sessions].sort((a, b) => standing(a) - standing(b) || compare(a, b) || b.created_at - a.created_at)
}

/** What a list says of a session beside its name; `count` writes a number with its word, `id` is shown beside a title. */
export function facts(session, id, count) {
  const { agent = 0, ui = 0 } = session.connections ?? {}
  const here = [agent > 0 ? count(agent, "agent") : "", ui > 0 ? count(ui, "screen") : ""].filter(Boolean).join(", ")
  const words = [session.user, session.title ? id : "", count(session.seq, "record"), here, session.node ? `on ${session.node}` : ""]
  return words.filter(Boolean).join(" · ")
}
