// A2UI's basic catalog as elements: what a component shows follows the data it is bound to.

import { cleanText, humanized } from "../core/cards.js"
import { h } from "../dom.js"
import { failures, resolve, textOf } from "./functions.js"
import { pathOf } from "./icons.js"
import { absolute } from "./reducer.js"

const MAX_DEPTH = 40
const MAX_ITEMS = 200
const SVG = "http://www.w3.org/2000/svg"
let serial = 0

/**
 * One painted surface. `node` is its element; `show(surface)` paints it anew, `refresh(data)`
 * only what the data changes. `about`: {locale, words, set(path, value), act(name, context)}.
 */
export class Painting {
  #about
  #surface = null
  #watchers = []

  constructor(about) {
    this.#about = about
    this.node = h("div", { class: "a2ui" })
  }

  show(surface) {
    this.#surface = surface
    this.#watchers = []
    this.node.replaceChildren(...this.#child("root", "", [], true))
  }

  refresh(surface) {
    this.#surface = surface
    for (const watcher of [...this.#watchers]) watcher()
  }

  /** The element of a component, as a list of none or one; a faulty one costs only itself. */
  #child(id, scope, above, isRoot = false) {
    const component = this.#surface.components.get(id)
    if (!component || above.includes(`${id} ${scope}`) || above.length > MAX_DEPTH) return []
    const painter = Object.hasOwn(PAINTERS, component.component) ? PAINTERS[component.component] : null
    const inside = [...above, `${id} ${scope}`]
    const tools = this.#tools(component, scope, inside, isRoot)
    try {
      if (!painter) throw new RangeError(`there is no component ${component.component}`)
      const element = painter(component, tools)
      if (typeof component.weight === "number") element.style.flexGrow = String(component.weight)
      if (component.accessibility) tools.watch(() => element.setAttribute("aria-label", tools.text(component.accessibility.label)))
      return [element]
    } catch (error) {
      console.warn("a component could not be shown", error)
      return [h("p", { class: "note" }, this.#about.words("could_not_show"))]
    }
  }

  /** What a painter may use, within one scope of the data. */
  #tools(component, scope, above, isRoot) {
    const about = () => ({ data: this.#surface.data, scope, locale: this.#about.locale })
    const tools = {
      id: `a2ui-${(serial += 1)}`,
      isRoot,
      words: this.#about.words,
      text: (value) => textOf(value, about()),
      value: (value) => resolve(value, about()),
      failures: (checks) => failures(checks, about()),
      child: (id) => this.#child(id, scope, above),
      children: (list, parent) => this.#children(list, parent, scope, above),
      watch: (act) => {
        const watcher = () => {
          try {
            act()
          } catch (error) {
            console.warn("a binding could not be shown", error)
          }
        }
        this.#watchers.push(watcher)
        watcher()
      },
      set: (bound, value) => {
        if (typeof bound?.path === "string") this.#about.set(absolute(bound.path, scope), value)
      },
      act: (action) => this.#act(action, about()),
    }
    return tools
  }

  /** Fill `parent` with fixed children, or with one per entry of a list in the data. */
  #children(list, parent, scope, above) {
    if (Array.isArray(list)) {
      parent.append(...list.flatMap((id) => this.#child(String(id), scope, above)))
      return
    }
    if (typeof list?.path !== "string") return
    const path = absolute(list.path, scope)
    let count = -1
    this.#watchers.push(() => fill())
    const fill = () => {
      const entries = resolve({ path }, { data: this.#surface.data, scope, locale: this.#about.locale })
      const size = Math.min(Array.isArray(entries) ? entries.length : 0, MAX_ITEMS)
      if (size === count) return
      count = size
      const items = Array.from({ length: size }, (_, at) => this.#child(list.componentId, `${path}/${at}`, above))
      parent.replaceChildren(...items.flat())
    }
    fill()
  }

  #act(action, about) {
    if (action?.functionCall) {
      const { call, args } = action.functionCall
      if (call === "openUrl") openOutside(textOf(args?.url, about))
      return
    }
    const event = action?.event
    if (!event || typeof event.name !== "string") return
    this.#about.act(event.name, resolve(event.context ?? {}, about) ?? {})
  }
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

const PAINTERS = {
  Text: ({ text, variant = "body" }, { text: read, watch }) => {
    const element = h("div", { class: `a2ui-text is-${variant}`, dir: "auto" })
    if (/^h[1-5]$/.test(variant)) {
      element.setAttribute("role", "heading")
      // The card's own title is a heading of level 2.
      element.setAttribute("aria-level", String(Math.min(6, Number(variant[1]) + 2)))
    }
    watch(() => element.replaceChildren(...formatted(read(text))))
    return element
  },

  Image: ({ url, description, variant = "mediumFeature" }, { text, watch }) => {
    const box = h("div", { class: `a2ui-image is-${variant}` })
    watch(() => {
      const source = text(url)
      const name = description ? text(description) : ""
      // An image from elsewhere would tell its host who looks, and when.
      const isOwn = /^data:image\/(png|jpeg|gif|webp);/.test(source) || safeUrl(source)?.origin === location.origin
      if (isOwn) box.replaceChildren(h("img", { src: source, alt: name }))
      else box.replaceChildren(sign("photo"), name ? h("span", {}, name) : "")
    })
    return box
  },

  Icon: ({ name }, { value, watch }) => {
    const box = h("span", { class: "a2ui-icon" })
    watch(() => box.replaceChildren(sign(value(name))))
    return box
  },

  Video: (component, tools) => outside(component, tools, "play"),
  AudioPlayer: (component, tools) => outside(component, tools, "volumeUp"),

  Row: (component, tools) => laidOut("row", component, tools),
  Column: (component, tools) => laidOut("column", component, tools),
  List: (component, tools) => laidOut(component.direction === "horizontal" ? "row is-list" : "column", component, tools),

  Card: ({ child }, { child: paint, isRoot }) => h("div", { class: isRoot ? "a2ui-root" : "a2ui-card" }, paint(child)),

  Divider: ({ axis }) => h("hr", { class: axis === "vertical" ? "a2ui-line is-vertical" : "a2ui-line" }),

  Tabs: ({ tabs }, { text, child, id }) => {
    const panels = tabs.map((tab, at) => h("div", { role: "tabpanel", id: `${id}-${at}`, hidden: at > 0 }, child(tab.child)))
    const buttons = tabs.map((tab, at) => h("button", {
      type: "button", role: "tab", class: "quiet", "aria-selected": String(at === 0), "aria-controls": `${id}-${at}`,
      on: { click: () => tabs.forEach((_, each) => {
        buttons[each].setAttribute("aria-selected", String(each === at))
        panels[each].hidden = each !== at
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

  Button: ({ child, label, text: words, action, variant = "default", checks }, tools) => {
    const kind = { primary: "primary", borderless: "quiet" }[variant] ?? "secondary"
    const wrong = h("span", { class: "wrong", id: tools.id, hidden: true })
    const button = h("button", { type: "button", class: `${kind} a2ui-button`, "aria-describedby": tools.id, on: { click: () => {
      button.disabled = true
      setTimeout(() => (button.disabled = tools.failures(checks).length > 0), 600)
      tools.act(action)
    } } }, child ? tools.child(child) : worded(label ?? words ?? "", tools))
    // A button that shows an icon alone still has to say what it does.
    if (button.textContent.trim() === "") button.setAttribute("aria-label", humanized(action?.event?.name ?? "button"))
    tools.watch(() => {
      const found = tools.failures(checks)
      button.disabled = found.length > 0
      wrong.hidden = found.length === 0
      wrong.textContent = found.join(" ")
    })
    return checks ? h("div", { class: "a2ui-checked" }, button, wrong) : button
  },

  TextField: (component, tools) => {
    const { variant = "shortText", validationRegexp: pattern } = component
    const input = variant === "longText"
      ? h("textarea", { rows: "3" })
      : h("input", { type: variant === "obscured" ? "password" : "text", inputmode: variant === "number" ? "decimal" : null, autocomplete: "off" })
    const checks = [...(component.checks ?? []), ...(pattern ? [matching(component, pattern)] : [])]
    return field(component, { ...tools, checks }, input, (value) => {
      if (document.activeElement !== input) input.value = value ?? ""
    }, () => (variant === "number" && input.value.trim() !== "" && !Number.isNaN(Number(input.value)) ? Number(input.value) : input.value))
  },

  CheckBox: (component, tools) => {
    const input = h("input", { type: "checkbox" })
    return field(component, { ...tools, tick: true }, input, (value) => (input.checked = value === true), () => input.checked)
  },

  Slider: (component, tools) => {
    const { min = 0, max = 100 } = component
    const input = h("input", { type: "range", min: String(min), max: String(max), step: max - min > 10 ? "1" : "any" })
    const amount = h("output", { class: "muted" })
    const box = field(component, tools, input, (value) => {
      input.value = String(value ?? min)
      amount.textContent = input.value
    }, () => Number(input.value))
    box.append(amount)
    return box
  },

  DateTimeInput: (component, tools) => {
    const { enableDate = true, enableTime = false } = component
    const type = enableDate && enableTime ? "datetime-local" : enableTime ? "time" : "date"
    const size = { "datetime-local": 16, date: 10, time: 5 }[type]
    const input = h("input", { type })
    return field(component, tools, input, (value) => {
      const text = String(value ?? "")
      input.value = type === "time" ? (text.split("T").at(-1) ?? "").slice(0, size) : text.slice(0, size)
    }, () => input.value)
  },

  ChoicePicker: (component, tools) => {
    const isSingle = component.variant === "mutuallyExclusive"
    const picked = () => [tools.value(component.value) ?? []].flat().map(String)
    const inputs = (component.options ?? []).slice(0, MAX_ITEMS).map((option) => {
      const value = String(option.value)
      const input = h("input", { type: isSingle ? "radio" : "checkbox", name: tools.id, on: { change: () => {
        const others = isSingle ? [] : picked().filter((each) => each !== value)
        tools.set(component.value, input.checked ? [...others, value] : others)
      } } })
      return { value, input, label: h("label", { class: "a2ui-option" }, input, h("span", {}, tools.text(option.label))) }
    })
    tools.watch(() => {
      const now = new Set(picked())
      for (const { value, input } of inputs) input.checked = now.has(value)
    })
    const legend = h("legend", {}, component.label ? tools.text(component.label) : tools.words("select"))
    return h("fieldset", { class: `a2ui-options is-${component.displayStyle ?? "checkbox"}` }, legend, inputs.map((each) => each.label))
  },
}

function laidOut(kind, { children, justify = "start", align = "stretch" }, { children: fill }) {
  const box = h("div", { class: `a2ui-${kind} just-${justify} align-${align}` })
  fill(children, box)
  return box
}

/** A labelled input bound both ways; its faults show once it was touched. */
function field(component, tools, input, read, write) {
  const wrong = h("span", { class: "wrong", id: `${tools.id}-wrong`, hidden: true })
  let touched = false
  input.id = tools.id
  input.setAttribute("aria-describedby", wrong.id)
  const changed = () => tools.set(component.value, write())
  input.addEventListener("input", changed)
  input.addEventListener("change", changed)
  input.addEventListener("blur", () => {
    touched = true
    check()
  })
  const check = () => {
    const found = touched ? tools.failures(tools.checks ?? component.checks) : []
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

function matching(component, pattern) {
  return { condition: { call: "regex", args: { value: component.value, pattern } }, message: "…" }
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

function formatted(text) {
  const nodes = []
  let list = null
  for (const line of cleanText(text).split("\n")) {
    const entry = /^\s*(?:[-*]|\d+\.)\s+(.*)$/.exec(line)
    if (entry) {
      list ??= nodes[nodes.push(h("ul", { class: "a2ui-list" })) - 1]
      list.append(h("li", {}, ...inline(entry[1])))
    } else {
      list = null
      const heading = /^#{1,6}\s+(.*)$/.exec(line)
      if (nodes.length && line !== "") nodes.push(h("br"))
      nodes.push(...(heading ? [h("strong", {}, ...inline(heading[1]))] : inline(line)))
    }
  }
  return nodes
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
