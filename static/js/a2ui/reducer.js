// A2UI v0.9 messages folded into surfaces: pure, so that another version is another reducer.
//
// Source: A2UI specification v0.9, createSurface updateComponents updateDataModel deleteSurface.

import { cut } from "../core/cards.js"
import { isPlain, lookUp, plainText } from "../core/protocol.js"
import { MAX_NODES } from "./budget.js"

const VERSIONS = new Set(["v0.9", "v0.9.1"])
/** More than a screen shows; beyond it the oldest go. */
const MAX_SURFACES = 50
/** A path leads no deeper than a message is nested. */
const MAX_STEPS = 64
/** A list grows at its end; a far place would make one with a billion holes. */
const MAX_LENGTH = 10_000
const KINDS = ["createSurface", "updateComponents", "updateDataModel", "deleteSurface"]

/** The messages in a record's `ui`: a list, one message, or `{messages: […]}`. */
export function messagesIn(ui) {
  const list = Array.isArray(ui) ? ui : isPlain(ui) && Array.isArray(ui.messages) ? ui.messages : [ui]
  return list.filter(isPlain)
}

/**
 * Fold one message into `surfaces`, a Map of `{id, components: Map, data, isImplied}`.
 * Returns the new Map; what can be understood of it counts, and `tell(problem)` is told of
 * the rest in words.
 */
export function reduce(surfaces, message, tell = () => {}) {
  const kind = KINDS.find((each) => isPlain(lookUp(message, each)))
  if (!kind) {
    tell(`It holds a message that is none of ${KINDS.join(", ")}.`)
    return surfaces
  }
  if (!VERSIONS.has(message.version)) {
    tell(`Its version is ${quoted(message.version)}; this screen knows ${[...VERSIONS].join(" and ")}.`)
  }
  const payload = lookUp(message, kind)
  if (typeof payload.surfaceId !== "string") {
    tell(`${kind} names no surfaceId.`)
    return surfaces
  }
  try {
    return FOLDS.get(kind)(surfaces, payload, tell)
  } catch (error) {
    tell(`${kind} of ${quoted(payload.surfaceId)}: ${error.message}.`)
    return surfaces
  }
}

/** A name that came in a message, short and in quotes. */
export function quoted(name) {
  return `“${cut(plainText(name), 60)}”`
}

/** The value at a JSON Pointer; a path that does not start with "/" goes on from `scope`. */
export function valueAt(data, path, scope = "") {
  let value = data
  for (const step of stepsOf(path, scope)) {
    value = lookUp(value, step)
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

const FOLDS = new Map([
  ["createSurface", create],
  ["updateComponents", (surfaces, payload, tell) => change(surfaces, payload, withComponents, tell)],
  ["updateDataModel", (surfaces, payload, tell) => change(surfaces, payload, withData, tell)],
  ["deleteSurface", (surfaces, { surfaceId }) => {
    const next = new Map(surfaces)
    next.delete(surfaceId)
    return next
  }],
])

function create(surfaces, payload, tell) {
  const { surfaceId: id, components, dataModel } = payload
  const known = surfaces.get(id)
  const next = new Map(surfaces)
  next.delete(id)
  if (next.size >= MAX_SURFACES) next.delete(next.keys().next().value)
  // What was said of it too early is not lost.
  let surface = known?.isImplied ? { ...known, isImplied: false } : { id, components: new Map(), data: {}, isImplied: false }
  if (dataModel !== undefined) surface = withData(surface, { value: dataModel })
  if (components !== undefined) {
    tell(`createSurface of ${quoted(id)} holds components; they belong into updateComponents.`)
    surface = withComponents(surface, { components }, tell)
  }
  return next.set(id, surface)
}

function change(surfaces, payload, alter, tell) {
  const { surfaceId: id } = payload
  const surface = surfaces.get(id)
  if (!surface) tell(`The surface ${quoted(id)} is changed before createSurface made it.`)
  const base = surface ?? { id, components: new Map(), data: {}, isImplied: true }
  const changed = alter(base, payload, tell)
  const next = new Map(surfaces)
  if (!surface && next.size >= MAX_SURFACES) next.delete(next.keys().next().value)
  return next.set(id, changed)
}

function withComponents(surface, { components }, tell) {
  const next = new Map(surface.components)
  if (!Array.isArray(components)) tell("updateComponents holds no list of components.")
  let unnamed = 0
  let many = 0
  for (const component of Array.isArray(components) ? components : []) {
    if (!isPlain(component) || typeof component.id !== "string") unnamed += 1
    else if (next.size >= MAX_NODES && !next.has(component.id)) many += 1
    else next.set(component.id, component)
  }
  if (unnamed) tell(`${unnamed} of its components have no id.`)
  if (many) tell(`${many} components are too many; a surface holds ${MAX_NODES}.`)
  return { ...surface, components: next }
}

function withData(surface, payload) {
  const value = lookUp(payload, "value")
  const path = typeof payload.path === "string" ? payload.path : "/"
  const data = path === "" || path === "/" ? (value ?? {}) : withValueAt(surface.data, path, value)
  return { ...surface, data }
}

function stepsOf(path, scope) {
  const steps = absolute(plainText(path), scope)
    .split("/", MAX_STEPS + 2)
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"))
  if (steps.length > MAX_STEPS) throw new RangeError("a path leads too deep")
  return steps.filter((step, at) => step !== "" || at < steps.length - 1)
}

function put(container, [step, ...rest], value) {
  if (step === undefined) return value
  const isGone = rest.length === 0 && value === undefined
  const inside = isGone ? undefined : put(lookUp(container, step), rest, value)
  const isPlace = /^\d+$/.test(step)
  if (Array.isArray(container) ? isPlace : !isPlain(container) && isPlace) return placed(Array.isArray(container) ? container : [], Number(step), inside)
  if (Array.isArray(container)) throw new RangeError(`a list has no ${quoted(step)}`)
  const entries = Object.entries(isPlain(container) ? container : {}).filter(([key]) => key !== step)
  return Object.fromEntries(isGone ? entries : [...entries, [step, inside]])
}

function placed(list, at, value) {
  if (at >= MAX_LENGTH) throw new RangeError(`a list has at most ${MAX_LENGTH} entries`)
  return Array.from({ length: Math.max(list.length, at + 1) }, (_, each) => (each === at ? value : list.at(each)))
}
