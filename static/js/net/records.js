// The records a client has heard, for readers that each go at their own pace.

import { CompanionError } from "./errors.js"

/** Records kept for readers that are slow. */
const MAX_KEPT = 1000
const PAGE = 100

/**
 * The newest records are kept here; a reader that is slower fetches what it missed with
 * `fetch(after, limit)`, as long as the server's log has it.
 */
export class Records {
  #fetch
  #kept = []
  #keptFrom = 0
  #firstAfter = 0
  #snapshotAt = 0
  #isLeft = false
  #ended = null
  #waiters = new Set()

  constructor(fetch) {
    this.#fetch = fetch
  }

  /** The first record to come is the one after `seq`. */
  begin(seq) {
    this.#firstAfter = seq
  }

  /** Records between the newest one kept and the next are gone. */
  skip() {
    this.#snapshotAt = this.#keptFrom + this.#kept.length
  }

  /** Add the newest one; the oldest gives way. */
  keep(record) {
    this.#kept.push(record)
    if (this.#kept.length > MAX_KEPT) {
      this.#kept.shift()
      this.#keptFrom += 1
    }
  }

  /** The client leaves: readers read what is kept, then stop. */
  leave() {
    this.#isLeft = true
  }

  /** No record comes any more; readers read what is kept, then throw `error`. */
  end(error) {
    this.#ended = error
  }

  async *read() {
    let position = 0
    let after = this.#firstAfter
    for (;;) {
      if (position < this.#keptFrom) {
        for (const record of await this.#missed(position, after)) {
          position += 1
          after = record.seq
          yield record
        }
      } else if (position < this.#keptFrom + this.#kept.length) {
        const record = this.#kept.at(position - this.#keptFrom)
        position += 1
        after = record.seq
        yield record
      } else if (this.#isLeft) return
      else if (this.#ended) throw this.#ended
      else await this.next()
    }
  }

  /** Wait until something more was heard. */
  next() {
    return new Promise((resolve) => this.#waiters.add(resolve))
  }

  wake() {
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const wake of waiters) wake()
  }

  async #missed(position, after) {
    const gone = new CompanionError("slow_consumer", "The log no longer has the records this reader has not read yet.")
    if (position < this.#snapshotAt) throw gone
    const limit = Math.min(this.#keptFrom - position, PAGE)
    const { records } = await this.#fetch(after, limit)
    if (!records.length || records[0].seq > after + 1) throw gone
    return records
  }
}
