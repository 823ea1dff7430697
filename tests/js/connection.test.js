// The connection over a socket and a clock that the test holds in its hands.

import assert from "node:assert/strict"
import { beforeEach, test } from "node:test"

import { AgentConnection } from "../../static/js/net/agent-connection.js"
import { Connection } from "../../static/js/net/connection.js"
import { Outbox } from "../../static/js/net/outbox.js"

/** The network: what a page opens, and what arrives there. */
class Wire {
  constructor() {
    this.sockets = []
    this.timers = new Map()
    this.clock = 0
    this.serial = 0
  }

  get environment() {
    const wire = this
    return {
      WebSocket: class {
        constructor(url, protocols) {
          Object.assign(this, { url: new URL(url), protocols, sent: [], readyState: 0 })
          wire.sockets.push(this)
        }
        send(text) {
          this.sent.push(JSON.parse(text))
        }
        close() {
          this.readyState = 3
        }
      },
      setTimeout: (act, ms) => {
        this.serial += 1
        this.timers.set(this.serial, { act, at: this.clock + ms })
        return this.serial
      },
      clearTimeout: (timer) => this.timers.delete(timer),
      fetch: null,
      random: () => 0.5,
      now: () => this.clock,
    }
  }

  get socket() {
    return this.sockets.at(-1)
  }

  /** As in a browser, a socket opens before it brings anything. */
  tell(message) {
    if (this.socket.readyState === 0) {
      this.socket.readyState = 1
      this.socket.onopen()
    }
    this.socket.onmessage({ data: JSON.stringify(message) })
  }

  drop(code = 1006) {
    this.socket.onclose({ code, reason: "" })
  }

  pass(ms) {
    const end = this.clock + ms
    for (;;) {
      const due = [...this.timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0]
      if (!due) break
      this.timers.delete(due[0])
      this.clock = due[1].at
      due[1].act()
    }
    this.clock = end
  }
}

class Storage {
  #items = new Map()
  getItem = (key) => this.#items.get(key) ?? null
  setItem = (key, value) => this.#items.set(key, value)
  removeItem = (key) => this.#items.delete(key)
  key = (at) => [...this.#items.keys()].at(at) ?? null
  get length() {
    return this.#items.size
  }
}

const JOINED = { type: "session_joined", seq: 0 }
let wire
let storage
let phases
let refused
let position

beforeEach(() => {
  wire = new Wire()
  storage = new Storage()
  phases = []
  refused = []
  position = { after: 0, epoch: null }
})

function connect(query = {}, token = "cwd_t", onMessage = () => {}, Kind = Connection) {
  const connection = new Kind({
    address: "ws://companion.test/ws",
    token,
    query: { session_id: "s", role: "ui", device: "Pixel 7", tools: "", ...query },
    position: () => position,
    outbox: new Outbox({ storage, sessionId: "s" }),
    onMessage,
    onStatus: ({ phase, code }) => phases.push(code === null ? phase : `${phase} ${code}`),
    onRefused: (entry, error) => refused.push([entry.about, error.code]),
    environment: wire.environment,
  })
  connection.start()
  return connection
}

test("the token travels as a subprotocol and never in the address", () => {
  connect()

  assert.deepEqual(wire.socket.protocols, ["companion.v1", "bearer.cwd_t"])
  assert.equal(wire.socket.url.search, "?session_id=s&role=ui&device=Pixel+7&after=0")
})

test("a tap while offline is sent once after the reload, with the same requestId", () => {
  const connection = connect()
  const { command } = connection.send({ type: "user_message", text: "hello" })
  assert.deepEqual(wire.socket.sent, [])
  connection.stop()

  connect()
  wire.tell(JOINED)
  assert.deepEqual(wire.socket.sent, [command])
  wire.tell({ ...command, seq: 1 })
  wire.drop()
  wire.pass(1000)
  wire.tell(JOINED)
  assert.deepEqual(wire.socket.sent, [])
})

test("what was sent and not acknowledged is sent again on the next connection", () => {
  const connection = connect()
  wire.tell(JOINED)
  const { command } = connection.send({ type: "user_message", text: "hello" })
  assert.deepEqual(wire.socket.sent, [command])
  wire.drop(1012)
  wire.pass(1000)
  wire.tell(JOINED)

  assert.equal(wire.sockets.length, 2)
  assert.deepEqual(wire.socket.sent, [command])
})

test("what follows a command waits until it is stored, and goes away with it when refused", () => {
  const connection = connect()
  wire.tell(JOINED)
  const first = connection.send({ type: "state_update", key: "a", value: 1 }, "card", [{ type: "user_message", text: "1" }])
  assert.equal(wire.socket.sent.length, 1)
  wire.tell({ type: "state_updated", seq: 1, requestId: first.command.requestId })
  assert.equal(wire.socket.sent.at(-1).text, "1")

  const second = connection.send({ type: "state_update", key: "a", value: 2 }, "card", [{ type: "user_message", text: "2" }])
  wire.tell({ type: "error", code: "revision_conflict", requestId: second.command.requestId })
  assert.deepEqual(refused, [["card", "revision_conflict"]])
  assert.equal(wire.socket.sent.filter((command) => command.text === "2").length, 0)
})

test("a refusal that passes is tried again", () => {
  const connection = connect()
  wire.tell(JOINED)
  const { command } = connection.send({ type: "user_message", text: "hello" })
  wire.tell({ type: "error", code: "too_many_requests", retry_after_ms: 500, requestId: command.requestId })
  wire.pass(600)

  assert.deepEqual(wire.socket.sent, [command, command])
  assert.deepEqual(refused, [])
})

test("a half-open socket is noticed by asking, within twenty seconds", () => {
  connect()
  wire.tell(JOINED)
  wire.pass(10_000)
  assert.deepEqual(wire.socket.sent, [{ type: "ping" }])
  wire.tell({ type: "pong" })
  wire.pass(7000)
  assert.equal(wire.sockets.length, 1)
  wire.pass(12_000)

  assert.ok(phases.includes("waiting 1006"))
})

test("an ended session and a revoked device stop trying", () => {
  for (const code of [4510, 4501, 4503, 4500, 4401]) {
    wire = new Wire()
    connect()
    wire.tell(JOINED)
    wire.drop(code)
    wire.pass(60_000)
    assert.equal(wire.sockets.length, 1)
    assert.equal(phases.at(-1), `ended ${code}`)
  }
})

test("it resumes from the last record seen, in the log it was seen in", () => {
  connect({}, "cwd_t", () => {
    position = { after: 7, epoch: "e1" }
  })
  wire.tell(JOINED)
  wire.drop(4408)
  wire.pass(1000)

  assert.equal(wire.socket.url.searchParams.get("after"), "7")
  assert.equal(wire.socket.url.searchParams.get("epoch"), "e1")
})

test("an expiring token is renewed in the connection and used for the next", () => {
  connect()
  wire.tell(JOINED)
  wire.tell({ type: "token_expiring", expires_at: 1 })
  assert.equal(wire.socket.sent[0].type, "token_renew")
  wire.tell({ type: "token_renewed", token: "cwd_new", expires_at: 2 })
  wire.drop()
  wire.pass(1000)

  assert.equal(wire.socket.protocols[1], "bearer.cwd_new")
})

test("storage that refuses costs no tap while the page lives", () => {
  storage.setItem = () => {
    throw new Error("full")
  }
  const connection = connect()
  connection.send({ type: "user_message", text: "hello" })
  wire.tell(JOINED)

  assert.equal(wire.socket.sent.length, 1)
})

test("two tabs of one phone are offline, a tap in each, both are closed: each arrives once", () => {
  const [one, other] = [connect(), connect()]
  const first = one.send({ type: "user_message", text: "one" }).command
  const second = other.send({ type: "user_message", text: "other" }, null, [{ type: "user_message", text: "then" }]).command
  const third = one.send({ type: "user_message", text: "one again" }).command
  one.stop()
  other.stop()

  connect()
  wire.tell(JOINED)
  assert.deepEqual(wire.socket.sent, [first, second, third])
  for (const [at, { requestId }] of [first, second, third].entries()) wire.tell({ type: "user_message", seq: at + 1, requestId })
  assert.deepEqual(wire.socket.sent.slice(3).map(({ text }) => text), ["then"])
  wire.tell({ type: "user_message", seq: 4, requestId: wire.socket.sent.at(-1).requestId })
  assert.equal(storage.length, 0)
})

test("a tab that stays open sends what another left when it comes back", () => {
  const [one, other] = [connect(), connect()]
  other.send({ type: "user_message", text: "left behind" })
  other.stop()
  wire.sockets[0].onmessage({ data: JSON.stringify(JOINED) })

  assert.deepEqual(wire.sockets[0].sent.map(({ text }) => text), ["left behind"])
  one.stop()
})

test("taps that 0.1.0 kept as one list are still sent", () => {
  const old = [{ command: { type: "user_message", text: "old", requestId: "r1" }, about: null, next: [] }]
  storage.setItem("companion.outbox.s", JSON.stringify(old))
  connect()
  wire.tell(JOINED)

  assert.deepEqual(wire.socket.sent.map(({ text }) => text), ["old"])
  assert.equal(storage.getItem("companion.outbox.s"), null)
})

test("a message that is too large costs itself alone, and the seat is kept", () => {
  const connection = connect()
  wire.tell({ ...JOINED, limits: { message_bytes: 200 } })
  connection.send({ type: "user_message", text: "ä".repeat(100) }, "form")
  assert.deepEqual(wire.socket.sent, [])
  assert.deepEqual(refused, [["form", "body_too_large"]])

  wire.tell(JOINED) // an older server says no limit, and closes
  connection.send({ type: "user_message", text: "x".repeat(100) }, "long")
  const { command } = connection.send({ type: "user_message", text: "short" })
  wire.drop(1009)
  wire.pass(1000)
  wire.tell(JOINED)
  assert.deepEqual(refused.at(-1), ["long", "body_too_large"])
  assert.deepEqual(wire.socket.sent, [command])
  assert.equal(phases.at(-1), "open")
})

test("what was refused is said again before what was said after it", () => {
  const connection = connect({ ordered: "1" })
  wire.tell(JOINED)
  const said = ["a", "b", "c"].map((text) => connection.send({ type: "user_message", text }).command)
  wire.tell({ ...said[0], seq: 1 })
  const error = { type: "error", code: "too_many_requests", retry_after_ms: 500 }
  wire.tell({ ...error, requestId: said[1].requestId })
  const { command: last } = connection.send({ type: "user_message", text: "d" })
  wire.tell({ ...error, requestId: said[2].requestId })
  wire.pass(600)
  const ping = wire.socket.sent.at(-1)
  assert.deepEqual([ping.type, ping.resume], ["ping", true])
  assert.equal(wire.socket.sent.length, 4)
  wire.tell({ type: "pong", requestId: ping.requestId })
  wire.pass(2000)

  assert.deepEqual(wire.socket.sent.slice(4), [said[1], said[2], last])
})

test("an answer under another requestId settles the call it is about", () => {
  const connection = connect({ role: "agent" }, "cwd_t", () => {}, AgentConnection)
  wire.tell(JOINED)
  const call = { tool_name: "t", tool_call_id: "c1", parameters: {} }
  connection.send({ type: "client_tool_call", client_tool_call: call })
  wire.tell({ type: "client_tool_call", client_tool_call: call, requestId: "of the first", seq: 3, duplicate: true })
  wire.drop()
  wire.pass(1000)
  wire.tell(JOINED)

  assert.deepEqual(wire.socket.sent, [])
})

test("a function gives the token, and another one when that has expired", async () => {
  const tokens = ["cwd_old", "cwd_new"]
  const settled = () => new Promise((resolve) => setImmediate(resolve))
  connect({}, async () => tokens.shift())
  await settled()
  assert.equal(wire.socket.protocols[1], "bearer.cwd_old")
  wire.tell(JOINED)
  wire.drop(4401)
  wire.pass(1000)
  await settled()

  assert.equal(wire.socket.protocols[1], "bearer.cwd_new")
  assert.ok(!phases.some((phase) => phase.startsWith("ended")))
})

test("a route that finds the token expired may ask for another before the socket is told", async () => {
  const tokens = ["cwd_old", "cwd_new"]
  const connection = connect({}, () => tokens.shift())
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(connection.token, "cwd_old")
  assert.equal(await connection.fetchToken(), true)
  assert.equal(connection.token, "cwd_new")
  assert.equal(await connect().fetchToken(), false)
})
