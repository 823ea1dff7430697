// A2UI v0.9 messages folded into surfaces: pure, so that another version is another reducer.
//
// Source: A2UI specification v0.9, createSurface updateComponents updateDataModel deleteSurface.

import { isPlain } from "../core/protocol.js"

const VERSIONS = new Set(["v0.9", "v0.9.1"])
const MAX_COMPONENTS = 500
/** More than a screen shows; beyond it the oldest go. */
const MAX_SURFACES = 50
/** Keys that reach into an object's making; no path may name them. */
const FORBIDDEN = new Set(["__proto__", "constructor", "prototype"])

/** The messages in a record's `ui`: a list, one message, or `{messages: […]}`. */
export function messagesIn(ui) {
  const list = Array.isArray(ui) ? ui : isPlain(ui) && Array.isArray(ui.messages) ? ui.messages : [ui]
  return list.filter((message) => isPlain(message) && VERSIONS.has(message.version))
}

/**
 * Fold one message into `surfaces`, a Map of `{id, components: Map, data}`.
 * Returns the new Map; what makes no sense changes nothing.
 */
export function reduce(surfaces, message) {
  if (isPlain(message.createSurface)) return create(surfaces, message.createSurface)
  if (isPlain(message.updateComponents)) return change(surfaces, message.updateComponents, withComponents)
  if (isPlain(message.updateDataModel)) return change(surfaces, message.updateDataModel, withData)
  if (isPlain(message.deleteSurface)) {
    const next = new Map(surfaces)
    next.delete(message.deleteSurface.surfaceId)
    return next
  }
  return surfaces
}

/** The value at a JSON Pointer; a path that does not start with "/" goes on from `scope`. */
export function valueAt(data, path, scope = "") {
  let value = data
  for (const step of stepsOf(path, scope)) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, step)) return undefined
    value = value[step]
  }
  return value
}

/** `data` with `value` at `path`; undefined takes it away. Nothing given is changed. */
export function withValueAt(data, path, value, scope = "") {
  return put(data, stepsOf(path, scope), value)
}

/** A path made absolute. */
export function absolute(path, scope) {
  return path.startsWith("/") ? path : `${scope}/${path}`
}

function create(surfaces, { surfaceId }) {
  if (typeof surfaceId !== "string") return surfaces
  const next = new Map(surfaces)
  next.delete(surfaceId)
  if (next.size >= MAX_SURFACES) next.delete(next.keys().next().value)
  return next.set(surfaceId, { id: surfaceId, components: new Map(), data: {} })
}

function change(surfaces, payload, alter) {
  const surface = surfaces.get(payload.surfaceId)
  return surface ? new Map(surfaces).set(surface.id, alter(surface, payload)) : surfaces
}

function withComponents(surface, { components }) {
  const next = new Map(surface.components)
  for (const component of Array.isArray(components) ? components : []) {
    if (isPlain(component) && typeof component.id === "string" && next.size < MAX_COMPONENTS) next.set(component.id, component)
  }
  return { ...surface, components: next }
}

function withData(surface, payload) {
  const value = Object.hasOwn(payload, "value") ? payload.value : undefined
  const path = typeof payload.path === "string" ? payload.path : "/"
  const data = path === "" || path === "/" ? (value ?? {}) : withValueAt(surface.data, path, value)
  return { ...surface, data }
}

function stepsOf(path, scope) {
  const steps = absolute(String(path), scope)
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"))
  if (steps.some((step) => FORBIDDEN.has(step))) throw new RangeError(`the path ${path} is not allowed`)
  return steps.filter((step, at) => step !== "" || at < steps.length - 1)
}

function put(container, [step, ...rest], value) {
  if (step === undefined) return value
  const base = Array.isArray(container) ? [...container] : isPlain(container) ? { ...container } : /^\d+$/.test(step) ? [] : {}
  if (rest.length === 0 && value === undefined) delete base[step]
  else base[step] = put(Object.hasOwn(base, step) ? base[step] : undefined, rest, value)
  return base
}
