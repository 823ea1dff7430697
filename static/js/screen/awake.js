// A screen that is being looked at stays on, where the browser can do that.

export class Awake {
  #lock = null

  /** Keep the screen on; the browser lets go of it whenever the page is hidden. */
  async keep() {
    if (document.visibilityState !== "visible" || !navigator.wakeLock) return
    try {
      this.#lock = await navigator.wakeLock.request("screen")
    } catch {
      // A low battery may say no.
    }
  }

  end() {
    this.#lock?.release?.()
  }
}
