// What a person has filled in and not sent, kept over a reload until the question is closed.

import { drafts } from "../net/storage.js"

/** Drafts of the questions of one session; `sessionId()` says which it is, once that is known. */
export class Drafts {
  #sessionId
  #kept = null

  constructor(sessionId) {
    this.#sessionId = sessionId
  }

  find(callId) {
    return this.#all().get(callId) ?? null
  }

  keep(callId, draft) {
    this.#all().set(callId, draft)
    this.#save()
  }

  /** The question is answered or over: what was typed has no further use. */
  forget(callId) {
    if (this.#all().delete(callId)) this.#save()
  }

  #all() {
    this.#kept ??= new Map(drafts.load(this.#sessionId()))
    return this.#kept
  }

  #save() {
    drafts.save(this.#sessionId(), [...this.#kept])
  }
}
