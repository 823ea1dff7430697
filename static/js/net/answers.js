// What a client waits for: the answer to each command it said, and the result of each call.

import { isPlain } from "../core/protocol.js"
import { CompanionError, errorOf } from "./errors.js"
import { newId } from "./outbox.js"

/** No command waits longer, wherever its answer is: longer than a restart takes. */
const ANSWER_WITHIN_MS = 120_000
/** What a server gives a tool call that names no time of its own. */
const CALL_TIMEOUT_MS = 18_000

/**
 * The commands and calls that somebody waits for, each a promise that settles once.
 *
 * A command is answered under its `requestId`; one that leaves the outbox without an answer is
 * only passed on (null). A call is answered twice: its command by a record, the call itself by
 * the result. Whatever the server does, each settles: after its time, or when the client ends.
 */
export class Answers {
  #connection
  #outbox
  #answerWithinMs
  #ended = null
  #answers = new Map()
  #calls = new Map()

  constructor({ connection, outbox, answerWithinMs = ANSWER_WITHIN_MS }) {
    this.#connection = connection
    this.#outbox = outbox
    this.#answerWithinMs = answerWithinMs
  }

  /** Call a tool; its `client_tool_result` record. The same `toolCallId` is one call. */
  call(toolName, parameters, { toolCallId = newId(), timeoutMs, traceparent } = {}) {
    const question = canonical([toolName, parameters])
    const known = this.#calls.get(toolCallId)
    if (known && known.question !== question) {
      return refused(new CompanionError("tool_call_reused", `${toolCallId} already belongs to another question.`))
    }
    if (known) return known.promise
    const call = { tool_name: toolName, tool_call_id: toolCallId, parameters, timeout_ms: timeoutMs }
    const command = { type: "client_tool_call", requestId: newId(), client_tool_call: call, traceparent }
    const pending = { question, command }
    pending.promise = handled(new Promise((resolve, reject) => Object.assign(pending, { resolve, reject })))
    this.#calls.set(toolCallId, pending)
    const longest = this.#answerWithinMs + (timeoutMs ?? CALL_TIMEOUT_MS)
    pending.timer = setTimeout(() => this.#settleCall(toolCallId, overdue(longest)), longest)
    this.send(command).catch((error) => this.#settleCall(toolCallId, error))
    return pending.promise
  }

  /** Send any command: what the server answers, null for what it only passes on. */
  send(command) {
    if (this.#ended) return refused(this.#ended)
    const { requestId = newId() } = command
    if (typeof requestId !== "string" || requestId === "" || requestId.length > 128) {
      return refused(new CompanionError("invalid_message", "requestId must be a string of 1 to 128 characters."))
    }
    if (this.#answers.has(requestId)) {
      return refused(new CompanionError("invalid_message", `requestId ${requestId} is already waiting for its answer.`))
    }
    const promise = handled(new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#giveUp(requestId), this.#answerWithinMs)
      this.#answers.set(requestId, { resolve, reject, timer, callId: madeBy(command) })
    }))
    try {
      this.#connection.send({ ...command, requestId })
    } catch (error) {
      this.#outbox.drop(requestId)
      this.refuse(requestId, { code: "invalid_message", message: `This cannot be sent as JSON: ${error.message}` })
    }
    this.settlePassed()
    return promise
  }

  /** A result may have been among what is no longer kept; asking again answers it. */
  askAgain() {
    for (const { command } of this.#calls.values()) {
      if (!this.#outbox.find(command.requestId)) this.#connection.send(command)
    }
  }

  /** Settle whatever `message` answers. */
  hear(message) {
    if (message.type === "error") return
    if (message.requestId) this.#settle(message.requestId, message)
    const id = message.client_tool_call?.tool_call_id ?? message.tool_call_id
    // A call made before is answered with its own first record, under its own requestId.
    for (const [requestId, { callId }] of [...this.#answers]) {
      if (callId !== null && callId === id) this.#settle(requestId, message)
    }
    if (message.type !== "client_tool_result") return
    for (const [callId, { command }] of [...this.#calls]) {
      if (callId === id || command.requestId === message.requestId) this.#settleCall(callId, message)
    }
  }

  /** What has left the outbox without an answer is only passed on. */
  settlePassed() {
    for (const requestId of [...this.#answers.keys()]) {
      if (!this.#outbox.find(requestId)) this.#settle(requestId, null)
    }
  }

  /** The server refused the command; if it made a call, that has failed with it. */
  refuse(requestId, error) {
    const refusal = errorOf(error)
    this.#settle(requestId, refusal)
    for (const [callId, { command }] of [...this.#calls]) {
      if (command.requestId === requestId) this.#settleCall(callId, refusal)
    }
  }

  /** Nothing is answered any more; `error` says why. */
  end(error) {
    this.#ended = error
    for (const requestId of [...this.#answers.keys()]) this.#settle(requestId, error)
    for (const callId of [...this.#calls.keys()]) this.#settleCall(callId, error)
  }

  #giveUp(requestId) {
    this.#connection.forget(requestId)
    this.#settle(requestId, overdue(this.#answerWithinMs))
  }

  #settle(requestId, answer) {
    const waiting = this.#answers.get(requestId)
    if (!waiting) return
    this.#answers.delete(requestId)
    clearTimeout(waiting.timer)
    if (answer instanceof Error) waiting.reject(answer)
    else waiting.resolve(answer)
  }

  #settleCall(callId, answer) {
    const call = this.#calls.get(callId)
    if (!call) return
    this.#calls.delete(callId)
    clearTimeout(call.timer)
    if (answer instanceof Error) call.reject(answer)
    else if (typeof answer.result === "string") call.resolve(answer)
    else call.reject(new CompanionError("tool_closed", "This call was answered; its result is no longer in the log."))
  }
}

/** What nobody awaits must not end a program. */
export function handled(promise) {
  promise.catch(() => {})
  return promise
}

function refused(error) {
  return handled(Promise.reject(error))
}

function overdue(withinMs) {
  const text = `No answer within ${withinMs} ms. The command may or may not be stored; send it again with the same requestId to find out.`
  return new CompanionError("unavailable", text)
}

/** The id of the call that a command makes, or null. */
function madeBy(command) {
  if (command.type !== "client_tool_call") return null
  return command.client_tool_call?.tool_call_id ?? command.tool_call_id ?? null
}

/** JSON text that is the same for equal values, whatever the order of their keys. */
function canonical(value) {
  return JSON.stringify(value, (_, each) => (isPlain(each) ? Object.fromEntries(Object.entries(each).sort()) : each))
}
