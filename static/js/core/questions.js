// What a tool call asks of a person, and how the answer reads afterwards.

import { blocksOf, cleanText, cut, humanized, listText, MAX_PARTS, money } from "./cards.js"
import { isChangeable } from "./companion-tools.js"
import { eachField, formOf } from "./fields.js"
import { answersText } from "./form-words.js"
import { numberText } from "./numbers.js"
import { isShown } from "./pictures.js"
import { isPlain, lookUp, plainText } from "./protocol.js"

const MAX_SPOKEN = 300
const MAX_ITEMS = 50
/** Stands for a secret: its row in a receipt says that there was one. */
const HIDDEN = "•"

/**
 * What `call` looks like: `{kind, title, …}` with kind choose, form, confirm, show or card.
 * A question whose parameters make no sense is shown as a card rather than not at all.
 */
export function questionView(call, about) {
  const ask = lookUp(ASKS, call.name)
  const within = { ...about, room: { left: MAX_PARTS } }
  return (ask && ask(call.parameters, within)) ?? cardOf(call, within)
}

/** Whether a tap can answer this view. */
export function isAsking(view) {
  return view.kind === "choose" || view.kind === "form" || view.kind === "confirm"
}

/** What is to be decided, in one sentence for a screen reader: ≤ 300 characters. */
export function spokenQuestion(view, words) {
  const parts = [view.title]
  if (view.kind === "confirm") parts.push(view.amount, view.payee, view.text)
  if (view.kind === "choose") parts.push(words("n_choices", { n: view.options.length }), ...view.options.map((option) => option.label))
  return cut(parts.filter(Boolean).join(", "), MAX_SPOKEN)
}

/** Whether it is answered by a button that sends what was filled in or ticked before. */
export function hasSend(view) {
  return view.kind === "form" || (view.kind === "choose" && view.multiple)
}

/**
 * What became of a closed call: `{text, note, tone, rows}` with tone done, no or quiet; `rows` are
 * the answers of a form, or the amount agreed to, `{label, text}`. Null where nothing need be said. `mine` tells whether this
 * device answered.
 */
export function receiptOf(call, view, about, mine) {
  const { words } = about
  const answer = call.answer
  if (!answer) return { text: words("closed"), note: "", tone: "quiet" }
  const result = (call.change ?? answer).result
  const note = call.change ? words("changed") : answer.by === "ui" && !mine ? words("answered_elsewhere") : ""
  switch (result.status) {
    case "shown":
      return null
    case "chosen": {
      const text = chosenText(result, about)
      return text ? { text: words("selected", { label: text }), note, tone: "done" } : { text: words("no_answer"), note, tone: "quiet" }
    }
    case "submitted":
      return { text: words("submitted"), note, tone: "done", rows: view?.form ? answersText(view.form, result.values, about) : [] }
    case "confirmed":
      return { text: words("confirmed"), note, tone: "done", rows: view?.amount ? [{ label: view.payee || words("total"), text: view.amount }] : [] }
    case "declined":
      return { text: words("declined"), note, tone: "no" }
    case "cancelled":
      return { text: words("withdrawn"), note: "", tone: "quiet" }
    default:
      return { text: words(answer.isError ? "failed" : "answered"), note, tone: answer.isError ? "no" : "done" }
  }
}

/** Whether a person may still change their answer to a closed call: one they gave, until an agent closes it. */
export function mayChange(call) {
  const { answer } = call
  return isChangeable(call.name) && !call.locked && answer !== null && answer.by === "ui" && !answer.isError &&
    ["chosen", "submitted"].includes(answer.result.status)
}

/** `call` as a phone may keep it: what was typed into fields for passwords is not among its answers. */
export function keptCall(call, about) {
  if (call.name !== "companion_form" || !call.answer) return call
  const secrets = [...eachField(formOf(call.parameters.schema, about).fields)].filter((field) => field.isSecret)
  if (secrets.length === 0) return call
  const hidden = (answer) => answer && { ...answer, result: { ...answer.result, values: secrets.reduce(withoutValue, answer.result.values) } }
  return { ...call, answer: hidden(call.answer), change: hidden(call.change) }
}

function withoutValue(values, { path: [name, ...deeper] }) {
  if (!isPlain(values) || !Object.hasOwn(values, name)) return values
  const kept = deeper.length ? withoutValue(lookUp(values, name), { path: deeper }) : HIDDEN
  return Object.fromEntries(Object.entries(values).map(([each, value]) => [each, each === name ? kept : value]))
}

/** What the agent is told when the answer to `view` is now `result`, as the person would say it. */
export function changeText(view, result, about) {
  const { words, locale } = about
  const answer = result.status === "submitted"
    ? listText(answersText(view.form, result.values, about).map(({ label, text }) => `${label}: ${text}`), locale)
    : chosenText(result, about) || words("no_answer")
  return cut(words("answer_changed", { question: view.title, answer }), 1000)
}

/** The result text of a tap: what goes back to the agent as JSON. Source: docs/protocol.md. */
export const results = {
  shown: () => JSON.stringify({ status: "shown" }),
  chosen: (option) => JSON.stringify({ status: "chosen", id: option.id, label: option.label }),
  chosenMany: (options) =>
    JSON.stringify({
      status: "chosen",
      ids: options.map((option) => option.id),
      labels: options.map((option) => option.label),
    }),
  submitted: (values) => JSON.stringify({ status: "submitted", values }),
  confirmed: () => JSON.stringify({ status: "confirmed" }),
  declined: () => JSON.stringify({ status: "declined" }),
}

const ASKS = {
  companion_choose: (parameters, about) => {
    const options = optionsOf(parameters, about)
    if (options.length === 0) return null
    const multiple = parameters.multiple === true
    return { kind: "choose", title: titleOf(parameters, ""), options, multiple, ...countOf(parameters, options.length) }
  },
  companion_form: (parameters, about) => {
    const form = formOf(parameters.schema, about)
    const isAsked = [...eachField(form.fields)].some(({ kind }) => kind !== "unasked")
    return isAsked ? { kind: "form", title: titleOf(parameters, ""), form } : null
  },
  companion_confirm: (parameters, about) => ({
    kind: "confirm",
    title: titleOf(parameters, about.words("please_confirm")),
    text: typeof parameters.text === "string" ? cleanText(parameters.text) : "",
    amount: amountText(parameters.amount, parameters.currency, about),
    items: itemsOf(parameters, about),
    payee: labelOf(parameters.merchant, "") && about.words("pay_to", { merchant: labelOf(parameters.merchant, "") }),
    confirm: labelOf(parameters.confirm_label, about.words("confirm")),
    cancel: labelOf(parameters.cancel_label, about.words("decline")),
  }),
  companion_show: (parameters, about) => ({
    kind: "show",
    title: titleOf(parameters, ""),
    blocks: blocksOf(parameters.data ?? null, "", { ...about, labels: parameters.labels }, 0, null),
    ui: parameters.ui ?? null,
  }),
}

function cardOf(call, about) {
  const { title, ...rest } = call.parameters
  const named = typeof title === "string" && title !== ""
  return {
    kind: "card",
    title: named ? cleanText(title) : humanized(call.name),
    blocks: blocksOf(named ? rest : call.parameters, "", about, 0, null),
  }
}

function titleOf(parameters, fallback) {
  return labelOf(parameters.title, fallback)
}

function labelOf(value, fallback) {
  return typeof value === "string" && value.trim() !== "" ? cleanText(value) : fallback
}

function optionsOf(parameters, about) {
  const list = Array.isArray(parameters.options) ? parameters.options : []
  return list.slice(0, 100).flatMap((option) => {
    if (typeof option === "string" && option !== "") return [{ id: option, label: cleanText(option), description: "" }]
    if (!isPlain(option)) return []
    const id = [option.id, option.value, option.label].find((each) => each !== null && each !== undefined)
    if (typeof id !== "string" && typeof id !== "number") return []
    return [{
      id: String(id),
      label: labelOf(option.label, String(id)),
      description: labelOf(option.description, ""),
      price: amountText(option.price, option.currency ?? parameters.currency, about),
      badge: cut(labelOf(option.badge, ""), 40),
      image: isShown("image", option.image) ? option.image : "",
    }]
  })
}

/** How many of `all` options are to be chosen, `{min, max}`: one at least, unless an agent wants none. */
function countOf({ min, max }, all) {
  const within = (value, otherwise) => (Number.isInteger(value) ? Math.min(Math.max(value, 0), all) : otherwise)
  const least = within(min, 1)
  return { min: least, max: Math.max(within(max, all), least, 1) }
}

/** An amount as people here write it; what is written out already stays as it is. */
function amountText(amount, currency, about) {
  const isNumber = Number.isFinite(amount) || (typeof amount === "string" && /^-?\d+(\.\d+)?$/.test(amount.trim()))
  if (!isNumber) return labelOf(amount, "")
  const value = Number(amount)
  const sign = plainText(currency).trim().toUpperCase()
  if (/^[A-Z]{3}$/.test(sign)) {
    try {
      return money(value, sign, about.locale)
    } catch {
      // What is not a currency stands beside the number.
    }
  }
  return [numberText(value, about.locale), labelOf(currency, "")].filter(Boolean).join(" ")
}

function itemsOf(parameters, about) {
  const list = Array.isArray(parameters.items) ? parameters.items : []
  return list.slice(0, MAX_ITEMS).flatMap((item) => {
    if (typeof item === "string") return [{ label: cleanText(item), amount: "" }]
    if (!isPlain(item)) return []
    const label = labelOf(item.label, "")
    const amount = amountText(item.amount, item.currency ?? parameters.currency, about)
    return label || amount ? [{ label, amount }] : []
  })
}

/** What cannot be asked of a form, in words for its agent; `compile` is core/matcher.js' `matcher`. */
export function problemsOf({ form }, compile) {
  const problems = form.unasked ? [`${form.unasked} fields are more than a form holds.`] : []
  for (const { name, kind, schema } of eachField(form.fields)) {
    const named = `“${cut(name, 60)}”`
    if (kind === "unasked") problems.push(`The field ${named} cannot be asked: it is a list of objects or an object too deep.`)
    const pattern = lookUp(schema, "pattern")
    try {
      if (typeof pattern === "string") compile(pattern)
    } catch (error) {
      problems.push(`The pattern of ${named} is not checked: ${error.message}.`)
    }
  }
  return problems
}

function chosenText(result, about) {
  if (Array.isArray(result.labels) || Array.isArray(result.ids)) {
    const labels = (Array.isArray(result.labels) ? result.labels : result.ids).map(cleanText)
    return listText(labels, about.locale)
  }
  return cleanText(result.label ?? result.id ?? "")
}
