// What happened in a session before somebody looked: records, who has shown them, who came and went.

import { ask } from "../net/api.js"

const PAGE = 250

/** What this page is called among the connections of a session. */
export const INSPECTOR = "Inspector"

/**
 * Everything after the record `after`, as messages; `each(messages)` is told page by page.
 * Notes of what screens have shown come as `rendered` messages, though nobody hears them now.
 */
export async function readRecords(token, id, after, each) {
  for (let at = after; at !== null;) {
    const { body } = await ask("GET", `sessions/${id}/records?after=${at}&limit=${PAGE}`, { token })
    each([...body.records, ...(body.rendered ?? []).map(rendered)])
    at = body.records.length ? (body.next ?? null) : null
  }
}

/** Who came and went, as `trail` messages; this page's own joining is no part of what happened. */
export async function readTrail(token, id) {
  const { body } = await ask("GET", `sessions/${id}/trail`, { token })
  return body.trail
    .filter((entry) => entry.device !== INSPECTOR)
    .map((entry) => ({ ...entry, type: "trail", timestamp: entry.at }))
}

function rendered({ of_seq, device_id, at, problem }) {
  return { type: "rendered", of_seq, device_id, timestamp: at, sender: { role: "ui" }, ...(problem === null ? {} : { problem }) }
}
