// What a person has filled in and not sent, kept over a reload until the question is closed.

import { draftKey, localStore, read, write } from "../net/storage.js"

/** Drafts of the questions of the session `id`, by `tool_call_id`. */
export class Drafts {
  #key
  #kept

  constructor(id) {
    this.#key = draftKey(id)
    const kept = read(localStore(), this.#key)
    this.#kept = new Map(Array.isArray(kept) ? kept.filter((pair) => Array.isArray(pair)) : [])
  }

  find(callId) {
    return this.#kept.get(callId) ?? null
  }

  keep(callId, draft) {
    this.#kept.set(callId, draft)
    this.#save()
  }

  /** The question is answered or over: what was typed has no further use. */
  forget(callId) {
    if (this.#kept.delete(callId)) this.#save()
  }

  #save() {
    write(localStore(), this.#key, this.#kept.size ? [...this.#kept] : null)
  }
}
