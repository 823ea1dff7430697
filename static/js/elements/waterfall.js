// Drawn time: the steps of a call one after the other, as bars. Attributes of SVG only, since the
// pages' policy allows no inline style.

import { duration, stepsOf, tookMs } from "../core/trace.js"
import { h } from "./dom.js"

const SVG = "http://www.w3.org/2000/svg"
const WIDTH = 100
/** A step of no time is still seen. */
const THINNEST = 1

/** One thin bar of all steps of a call, `scaleMs` wide; what it shows is told in words beside it. */
export function callBar(call, scaleMs) {
  return bar(stepsOf(call), scaleMs, call.releasedAt)
}

/** The steps of a call, a line each with its bar, and the total. */
export function waterfall(call) {
  const steps = stepsOf(call)
  const total = tookMs(call)
  const scaleMs = Math.max(1, ...steps.map((step) => step.fromMs + step.tookMs))
  const line = (what, ms, drawn, kind = "") => h("div", { class: kind }, h("dt", {}, what), h("dd", {}, drawn, h("span", {}, duration(ms))))
  return h("dl", { class: "waterfall" },
    steps.map((step) => line(step.what, step.tookMs, bar([step], scaleMs, null))),
    total === null ? null : line("call → result", total, null, "waterfall-total"))
}

function bar(steps, scaleMs, releasedAt) {
  const svg = document.createElementNS(SVG, "svg")
  set(svg, { viewBox: `0 0 ${WIDTH} 4`, preserveAspectRatio: "none", class: "bar-of-time", "aria-hidden": "true" })
  for (const { what, fromMs, tookMs: ms } of steps) {
    // A stand-in's result runs beside the wait for the tap; in one bar it would hide it.
    if (what.endsWith("result") && releasedAt !== null && steps.length > 1) continue
    const rect = document.createElementNS(SVG, "rect")
    const x = Math.min(WIDTH - THINNEST, (fromMs / scaleMs) * WIDTH)
    set(rect, { x, y: 0, height: 4, width: Math.max(THINNEST, Math.min(WIDTH - x, (ms / scaleMs) * WIDTH)), class: `step is-${what.split(" → ")[1]}` })
    svg.append(rect)
  }
  return svg
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
}
