// A2UI's basic catalog as elements: what a component shows follows the data it is bound to.

import { humanized } from "../core/cards.js"
import { isPlain, lookUp, plainText } from "../core/protocol.js"
import { fillIn, h, picture } from "../elements/dom.js"
import { Budget } from "./budget.js"
import { failures, resolve, textOf } from "./functions.js"
import { pathOf } from "./icons.js"
import { absolute, quoted } from "./reducer.js"

const MAX_DEPTH = 40
const MAX_ITEMS = 200
/** A picture is heavier than a line of text. */
const IMAGE_NODES = 10
/** An agent needs no longer list to see what is wrong. */
const MAX_PROBLEMS = 8
const SVG = "http://www.w3.org/2000/svg"
let serial = 0

/**
 * One painted surface. `node` is its element; `show(surface, budget)` repaints it within
 * its budget, `refresh(surface)` only what the data changes.
 * `problems` are the sentences that say what of it could not be shown, `unchecked` those that
 * say which patterns nobody checks; `used` is how many elements it took.
 * `about`: {locale, words, nowMs(), set(path, value), act(name, context)}.
 */
export class Painting {
  #about
  #surface = null
  #watchers = []
  #budget = new Budget()
  #nodes = this.#budget.nodes

  constructor(about) {
    this.#about = about
    this.node = h("div", { class: "a2ui" })
    this.problems = new Set()
    this.unchecked = new Set()
  }

  get used() {
    return this.#nodes - this.#budget.nodes
  }

  show(surface, budget) {
    this.#surface = surface
    this.#watchers = []
    this.#nodes = budget.nodes
    this.#budget = budget
    this.problems.clear()
    this.unchecked.clear()
    fillIn(this.node, ...this.#roots().flatMap((id) => this.#child(id, "", [], true)))
  }

  refresh(surface) {
    this.#surface = surface
    this.#budget = new Budget(this.#budget.nodes)
    for (const watcher of [...this.#watchers]) watcher()
  }

  /** The component to begin with; where none is called root, those that no other one holds. */
  #roots() {
    const { id, components } = this.#surface
    if (components.has("root")) return ["root"]
    this.#tell(`The surface ${quoted(id)} has no component “root”.`)
    const held = new Set([...components.values()].flatMap(heldBy))
    return [...components.keys()].filter((each) => !held.has(each)).slice(0, MAX_ITEMS)
  }

  #tell(problem) {
    if (this.problems.size < MAX_PROBLEMS) this.problems.add(problem)
  }

  /** The element of a component, as a list of none or one; a faulty one costs only itself. */
  #child(id, scope, above, isRoot = false) {
    const component = typeof id === "string" ? this.#surface.components.get(id) : undefined
    const place = `${id} ${scope}`
    if (!component || above.includes(place)) {
      if (!isRoot) this.#tell(component ? `The component ${quoted(id)} holds itself.` : `There is no component ${quoted(id)}.`)
      return []
    }
    const inside = [...above, place]
    try {
      if (above.length > MAX_DEPTH) throw new RangeError("it is nested too deep")
      this.#budget.takeNodes()
      const painter = PAINTERS.get(component.component)
      if (!painter) throw new RangeError(`there is no component ${quoted(component.component)} in the basic catalog`)
      const tools = this.#tools(component, scope, inside, isRoot)
      const element = painter(component, tools)
      if (Number.isFinite(component.weight)) element.style.flexGrow = String(component.weight)
      if (isPlain(component.accessibility)) {
        tools.watch(() => {
          const label = tools.text(component.accessibility.label)
          if (label) element.setAttribute("aria-label", label)
        })
      }
      return [element]
    } catch (error) {
      this.#tell(`The component ${quoted(id)} could not be shown: ${error.message}.`)
      // Where there is no more room, a note for each would take what is not there.
      return this.#budget.nodes > 0 ? [h("p", { class: "note" }, this.#about.words("could_not_show"))] : []
    }
  }

  /** What values are worked out with, within one scope of the data. */
  #aboutData(scope) {
    return {
      data: this.#surface.data,
      scope,
      locale: this.#about.locale,
      nowMs: this.#about.nowMs?.(),
      budget: this.#budget,
      tell: (text) => this.unchecked.size < MAX_PROBLEMS && this.unchecked.add(text),
    }
  }

  /** What a painter may use, within one scope of the data. */
  #tools(component, scope, above, isRoot) {
    const about = () => this.#aboutData(scope)
    return {
      id: `a2ui-${(serial += 1)}`,
      isRoot,
      words: this.#about.words,
      room: (count) => this.#budget.takeNodes(count),
      hasRoom: (count) => this.#budget.nodes >= count,
      text: (value) => textOf(value, about()),
      value: (value) => resolve(value, about()),
      failures: (checks) => failures(checks, about()),
      child: (id) => (id === undefined || id === null ? [] : this.#child(id, scope, above)),
      children: (list, parent) => this.#children(list, parent, scope, above),
      watch: (act) => this.#watch(act, component),
      set: (bound, value) => {
        if (typeof bound?.path === "string") this.#about.set(absolute(bound.path, scope), value)
      },
      act: (action) => this.#act(action, about()),
    }
  }

  #watch(act, component) {
    const watcher = () => {
      try {
        act()
      } catch (error) {
        this.#tell(`A value of ${quoted(component.id)} could not be shown: ${error.message}.`)
      }
    }
    this.#watchers.push(watcher)
    watcher()
  }

  /** Fill `parent` with fixed children, or with one per entry of a list in the data. */
  #children(list, parent, scope, above) {
    if (Array.isArray(list)) {
      parent.append(...list.flatMap((id) => this.#child(id, scope, above)))
      return
    }
    if (typeof list?.path !== "string") return
    const path = absolute(list.path, scope)
    let count = -1
    let inner = []
    let taken = 0
    const fill = () => {
      const entries = resolve({ path }, this.#aboutData(scope))
      const found = Array.isArray(entries) ? entries.length : 0
      if (found > MAX_ITEMS) this.#tell(`A list shows ${MAX_ITEMS} of its ${found} entries.`)
      const size = Math.min(found, MAX_ITEMS)
      if (size === count) return false
      count = size
      // The watchers of what was there go with it, and so does the room it took.
      const outer = this.#watchers
      this.#watchers = inner = []
      this.#budget.nodes += taken
      const before = this.#budget.nodes
      const nodes = Array.from({ length: size }, (_, at) => this.#child(list.componentId, `${path}/${at}`, above))
      taken = before - this.#budget.nodes
      fillIn(parent, ...nodes.flat())
      this.#watchers = outer
      return true
    }
    this.#watchers.push(() => fill() || [...inner].forEach((watcher) => watcher()))
    fill()
  }

  #act(action, about) {
    if (action?.functionCall) {
      const { call, args } = action.functionCall
      if (call === "openUrl") openOutside(textOf(lookUp(args, "url"), about))
      return
    }
    const event = action?.event
    if (!event || typeof event.name !== "string") return
    const context = resolve(event.context ?? {}, about)
    this.#about.act(event.name, isPlain(context) ? context : {})
  }
}

/** The ids a component names as what it holds. */
function heldBy({ child, children, content, trigger, tabs }) {
  const listed = Array.isArray(children) ? children : [children?.componentId]
  return [child, content, trigger, ...listed, ...listOf(tabs).map((tab) => tab.child)]
}

function openOutside(text) {
  const url = safeUrl(text)
  if (url) open(url.href, "_blank", "noopener,noreferrer")
}

function safeUrl(text) {
  try {
    const url = new URL(text)
    return ["https:", "http:"].includes(url.protocol) ? url : null
  } catch {
    return null
  }
}

const PAINTERS = new Map(Object.entries({
  Text: ({ text, variant }, { text: read, watch, room, hasRoom }) => {
    const style = styleOf(variant, "body")
    const element = h("div", { class: `a2ui-text is-${style}`, dir: "auto" })
    let taken = 0
    if (/^h[1-5]$/.test(style)) {
      element.setAttribute("role", "heading")
      // The card's own title is a heading of level 2.
      element.setAttribute("aria-level", String(Math.min(6, Number(style.charAt(1)) + 2)))
    }
    watch(() => {
      const shown = read(text)
      const { nodes, count } = formatted(shown)
      // Marks are dropped sooner than words.
      const fits = hasRoom(count - taken)
      if (fits) room(count - taken)
      taken = fits ? count : taken
      fillIn(element, ...(fits ? nodes : [shown]))
    })
    return element
  },

  Image: ({ url, description, variant }, { text, watch, room }) => {
    const box = h("div", { class: `a2ui-image is-${styleOf(variant, "mediumFeature")}` })
    room(IMAGE_NODES)
    watch(() => {
      const source = text(url)
      const name = description ? text(description) : ""
      // An image from elsewhere would tell its host who looks, and when.
      const target = safeUrl(source)
      const isOwn = /^data:image\/(png|jpeg|gif|webp);/.test(source) || target?.origin === location.origin
      if (isOwn) fillIn(box, h("img", { src: source, alt: name }))
      else if (target) fillIn(box, picture(source, name, "fill"))
      else fillIn(box, sign("photo"), name ? h("span", {}, name) : "")
    })
    return box
  },

  Icon: ({ name }, { value, watch }) => {
    const box = h("span", { class: "a2ui-icon" })
    watch(() => fillIn(box, sign(value(name))))
    return box
  },

  Video: (component, tools) => outside(component, tools, "play"),
  AudioPlayer: (component, tools) => outside(component, tools, "volumeUp"),

  Row: (component, tools) => laidOut("row", component, tools),
  Column: (component, tools) => laidOut("column", component, tools),
  List: (component, tools) => laidOut(component.direction === "horizontal" ? "row is-list" : "column", component, tools),

  Card: ({ child }, { child: paint, isRoot }) => h("div", { class: isRoot ? "a2ui-root" : "a2ui-card" }, paint(child)),

  Divider: ({ axis }) => h("hr", { class: axis === "vertical" ? "a2ui-line is-vertical" : "a2ui-line" }),

  Tabs: ({ tabs: given }, { text, child, id, room }) => {
    const tabs = listOf(given)
    room(2 * tabs.length)
    const panels = tabs.map((tab, at) => h("div", { role: "tabpanel", id: `${id}-${at}`, hidden: at > 0 }, child(tab.child)))
    const buttons = tabs.map((tab, at) => h("button", {
      type: "button", role: "tab", class: "quiet", "aria-selected": String(at === 0), "aria-controls": `${id}-${at}`,
      on: { click: () => tabs.forEach((_, each) => {
        buttons.at(each).setAttribute("aria-selected", String(each === at))
        panels.at(each).hidden = each !== at
      }) },
    }, text(tab.title)))
    return h("div", { class: "a2ui-tabs" }, h("div", { role: "tablist" }, buttons), panels)
  },

  Modal: ({ trigger, content }, { child, words, text, id }) => {
    const close = h("button", { type: "button", class: "quiet", on: { click: () => dialog.close() } }, words("close"))
    const dialog = h("dialog", { class: "a2ui-dialog", id, "aria-label": text("") || words("companion") }, child(content), close)
    const opener = h("div", { class: "a2ui-opener" }, child(trigger))
    opener.addEventListener("click", () => dialog.open || dialog.showModal())
    return h("div", {}, opener, dialog)
  },

  Button: ({ child, text, label, action, variant, checks }, tools) => {
    const kind = lookUp({ primary: "primary", borderless: "quiet" }, variant) ?? "secondary"
    const wrong = h("span", { class: "wrong", id: tools.id, hidden: true })
    const button = h("button", { type: "button", class: `${kind} a2ui-button`, "aria-describedby": tools.id, on: { click: () => {
      button.disabled = true
      setTimeout(() => (button.disabled = tools.failures(checks).length > 0), 600)
      tools.act(action)
    } } }, child ? tools.child(child) : worded(label ?? text ?? "", tools))
    // A button that shows an icon alone still has to say what it does.
    if (button.textContent.trim() === "") button.setAttribute("aria-label", humanized(action?.event?.name) || tools.words("select"))
    tools.watch(() => {
      const found = tools.failures(checks)
      button.disabled = found.length > 0
      wrong.hidden = found.length === 0
      wrong.textContent = found.join(" ")
    })
    return checks ? h("div", { class: "a2ui-checked" }, button, wrong) : button
  },

  TextField: (component, tools) => {
    const { variant, validationRegexp: pattern } = component
    const input = variant === "longText"
      ? h("textarea", { rows: "3" })
      : h("input", { type: variant === "obscured" ? "password" : "text", inputmode: variant === "number" ? "decimal" : null, autocomplete: "off" })
    const checks = [...listOf(component.checks), ...(pattern ? [matching(component, pattern, tools.words)] : [])]
    return field(component, { ...tools, checks }, input, (value) => {
      if (document.activeElement !== input) input.value = plainText(value)
    }, () => (variant === "number" && input.value.trim() !== "" && !Number.isNaN(Number(input.value)) ? Number(input.value) : input.value))
  },

  CheckBox: (component, tools) => {
    const input = h("input", { type: "checkbox" })
    return field(component, { ...tools, tick: true }, input, (value) => (input.checked = value === true), () => input.checked)
  },

  Slider: (component, tools) => {
    const min = Number.isFinite(component.min) ? component.min : 0
    const max = Number.isFinite(component.max) ? component.max : 100
    const input = h("input", { type: "range", min: String(min), max: String(max), step: max - min > 10 ? "1" : "any" })
    const amount = h("output", { class: "muted" })
    const box = field(component, tools, input, (value) => {
      input.value = String(Number.isFinite(value) ? value : min)
      amount.textContent = input.value
    }, () => Number(input.value))
    box.append(amount)
    return box
  },

  DateTimeInput: (component, tools) => {
    const { enableDate = true, enableTime = false } = component
    const type = enableDate && enableTime ? "datetime-local" : enableTime ? "time" : "date"
    const size = lookUp({ "datetime-local": 16, date: 10, time: 5 }, type)
    const input = h("input", { type })
    return field(component, tools, input, (value) => {
      const text = plainText(value)
      input.value = type === "time" ? (text.split("T").at(-1) ?? "").slice(0, size) : text.slice(0, size)
    }, () => input.value)
  },

  ChoicePicker: (component, tools) => {
    const isSingle = component.variant === "mutuallyExclusive"
    const picked = () => [tools.value(component.value) ?? []].flat().map((each) => plainText(each))
    const options = listOf(component.options)
    tools.room(options.length)
    const inputs = options.map((option) => {
      const value = plainText(option.value)
      const input = h("input", { type: isSingle ? "radio" : "checkbox", name: tools.id, on: { change: () => {
        const others = isSingle ? [] : picked().filter((each) => each !== value)
        tools.set(component.value, input.checked ? [...others, value] : others)
      } } })
      return { value, input, label: h("label", { class: "a2ui-option" }, input, h("span", {}, tools.text(option.label ?? option.value))) }
    })
    tools.watch(() => {
      const now = new Set(picked())
      for (const { value, input } of inputs) input.checked = now.has(value)
    })
    const legend = h("legend", {}, component.label ? tools.text(component.label) : tools.words("select"))
    return h("fieldset", { class: `a2ui-options is-${styleOf(component.displayStyle, "checkbox")}` }, legend, inputs.map((each) => each.label))
  },
}))

/** A word of the catalog within a class name; anything else is none of our styles. */
function styleOf(word, fallback) {
  return typeof word === "string" && /^\w{1,30}$/.test(word) ? word : fallback
}

/** The objects of a list that came in a message, no more than a person looks through. */
function listOf(value) {
  return (Array.isArray(value) ? value : []).filter(isPlain).slice(0, MAX_ITEMS)
}

function laidOut(kind, { children, justify, align }, { children: fill }) {
  const box = h("div", { class: `a2ui-${kind} just-${styleOf(justify, "start")} align-${styleOf(align, "stretch")}` })
  fill(children, box)
  return box
}

/** A labelled input bound both ways; its faults show once it was touched. */
function field(component, tools, input, read, write) {
  const wrong = h("span", { class: "wrong", id: `${tools.id}-wrong`, hidden: true })
  let touched = false
  input.id = tools.id
  input.setAttribute("aria-describedby", wrong.id)
  const checks = tools.checks ?? component.checks
  const changed = () => tools.set(component.value, write())
  input.addEventListener("input", changed)
  input.addEventListener("change", changed)
  input.addEventListener("blur", () => {
    touched = true
    check()
  })
  const check = () => {
    // Worked out untouched too: the agent hears at once of what cannot be checked.
    const failed = tools.failures(checks)
    const found = touched ? failed : []
    wrong.hidden = found.length === 0
    wrong.textContent = found[0] ?? ""
    input.toggleAttribute("aria-invalid", false)
    if (found.length) input.setAttribute("aria-invalid", "true")
  }
  const label = h("label", { for: tools.id })
  tools.watch(() => {
    label.textContent = tools.text(component.label) || humanized(component.id)
    read(tools.value(component.value))
    check()
  })
  return tools.tick
    ? h("div", { class: "field is-tick" }, input, label, wrong)
    : h("div", { class: "field" }, label, input, wrong)
}

function matching(component, pattern, words) {
  return { condition: { call: "regex", args: { value: component.value, pattern } }, message: words("field_wrong") }
}

function outside({ url, description }, { text, words }, name) {
  const target = safeUrl(text(url))
  const label = (description && text(description)) || target?.host || words("could_not_show")
  if (!target) return h("p", { class: "muted" }, label)
  return h("a", { class: "secondary a2ui-outside", href: target.href, target: "_blank", rel: "noopener noreferrer", referrerpolicy: "no-referrer" }, sign(name), label)
}

function sign(name) {
  const svg = document.createElementNS(SVG, "svg")
  svg.setAttribute("viewBox", "0 0 24 24")
  svg.setAttribute("class", "icon")
  svg.setAttribute("aria-hidden", "true")
  const path = document.createElementNS(SVG, "path")
  // A drawn path is geometry and nothing else.
  path.setAttribute("d", typeof name?.svgPath === "string" ? name.svgPath.slice(0, 4096) : pathOf(name))
  svg.append(path)
  return svg
}

// A little Markdown: headings, lists, bold, italic, code. No links, no images, no HTML.

/** `{nodes, count}`: what a text looks like, and how many elements and lines that takes beyond the first. */
function formatted(text) {
  const nodes = []
  let list = null
  let count = -1
  for (const line of text.split("\n")) {
    count += 1 + line.split(/[*_`]/).length - 1
    const entry = /^\s*(?:[-*]|\d+\.)\s+(.*)$/.exec(line)
    if (entry) {
      if (!list) nodes.push((list = h("ul", { class: "a2ui-list" })))
      list.append(h("li", {}, ...inline(entry[1])))
    } else {
      list = null
      const heading = /^#{1,6}\s+(.*)$/.exec(line)
      if (nodes.length && line !== "") nodes.push(h("br"))
      nodes.push(...(heading ? [h("strong", {}, ...inline(heading[1]))] : inline(line)))
    }
  }
  return { nodes, count }
}

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|__[^_]+__|\*[^*\s][^*]*\*|`[^`]+`)/).filter(Boolean).map((part) => {
    if (/^(\*\*|__).+\1$/.test(part)) return h("strong", {}, part.slice(2, -2))
    if (/^\*.+\*$/.test(part)) return h("em", {}, part.slice(1, -1))
    if (/^`.+`$/.test(part)) return h("code", {}, part.slice(1, -1))
    return document.createTextNode(part)
  })
}

/** Words on a button without a child: models write them into the button itself. */
function worded(value, { text, watch }) {
  const element = h("span", { dir: "auto" })
  watch(() => (element.textContent = text(value)))
  return element
}
