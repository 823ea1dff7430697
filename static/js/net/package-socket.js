// A WebSocket for Node before 22, which has none: that of the package `ws`, if it is installed.

/** Named here, lest bundlers look for it: what they bundle for has a WebSocket. */
const PACKAGE = "ws"
const MISSING = 'There is no WebSocket here (Node has one from 22 on): "npm install ws", or give one as the option WebSocket.'
const CONNECTING = 0
const CLOSED = 3

/** Has what of a WebSocket is used here. Where there is no package it closes, with no code. */
export class PackageSocket {
  #socket = null
  #isClosed = false

  constructor(address, protocols) {
    this.#open(address, protocols)
  }

  async #open(address, protocols) {
    const { WebSocket } = await import(/* webpackIgnore: true */ /* @vite-ignore */ PACKAGE).catch(() => ({}))
    if (this.#isClosed) return
    if (!WebSocket) {
      this.onclose({ code: null, reason: MISSING })
      return
    }
    this.#socket = new WebSocket(address, protocols)
    this.#socket.onopen = () => this.onopen()
    this.#socket.onmessage = (event) => this.onmessage(event)
    this.#socket.onerror = () => this.onerror()
    this.#socket.onclose = (event) => this.onclose(event)
  }

  get readyState() {
    return this.#socket?.readyState ?? (this.#isClosed ? CLOSED : CONNECTING)
  }

  send(text) {
    this.#socket.send(text)
  }

  close(code) {
    this.#isClosed = true
    this.#socket?.close(code)
  }
}
