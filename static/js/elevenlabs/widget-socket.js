// What a widget hears from ElevenLabs, for those it does not tell.

import { decode } from "../core/protocol.js"

/** Listens to the next socket a page opens to ElevenLabs. */
export class WidgetSocket {
  #calls = []
  #onEvent
  #onClose

  /** `onEvent(event)` for all it hears, `onClose()` when the conversation is over. */
  constructor(onEvent, onClose) {
    this.#onEvent = onEvent
    this.#onClose = onClose
  }

  /** The widget makes its socket itself, so the next one is listened to and only that. */
  nextSocket() {
    const Native = globalThis.WebSocket
    const listen = (socket) => this.#listen(socket)
    globalThis.WebSocket = class extends Native {
      constructor(address, protocols) {
        super(address, protocols)
        if (![protocols].flat().includes("convai")) return
        globalThis.WebSocket = Native
        listen(this)
      }
    }
  }

  /** The id of a call that was heard: the widget's own copy of the parameters is another object. */
  claimId(name, parameters) {
    const text = JSON.stringify(parameters)
    const at = this.#calls.findIndex((call) => call.tool_name === name && JSON.stringify(call.parameters) === text)
    return at < 0 ? null : this.#calls.splice(at, 1)[0].tool_call_id
  }

  forget() {
    this.#calls = []
  }

  #listen(socket) {
    socket.addEventListener("close", () => this.#onClose())
    socket.addEventListener("message", (frame) => {
      const event = decode(frame.data)
      if (event?.type === "client_tool_call") this.#calls.push(event.client_tool_call)
      if (event) this.#onEvent(event)
    })
  }
}
