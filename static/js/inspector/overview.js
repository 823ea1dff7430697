// What stands beside the list while no session is chosen: each tool, how often it failed, how long it took.

import { duration } from "../core/trace.js"
import { fillIn, h } from "../elements/dom.js"

export class Overview {
  constructor() {
    this.body = h("tbody")
    this.table = h("table", { class: "tools", hidden: true },
      h("thead", {}, h("tr", {}, ["Tool", "Calls", "Failed", "Slow", "No screen", "p50", "p95"].map((name, at) => h("th", { scope: "col", class: at ? "cell-number" : "" }, name)))),
      this.body)
    this.none = h("p", { class: "muted" }, "No tool has been called yet.")
    this.node = h("section", { class: "overview", "aria-label": "Tools" },
      h("h2", {}, "Tools"),
      h("p", { class: "muted" }, "Over all sessions that are kept. p50 and p95: half, and 19 of 20 answers took no longer; a person’s thinking counts."),
      this.table, this.none,
      h("p", { class: "muted overview-keys" }, keys("j k", "move"), keys("/", "search"), keys("Enter", "open"), keys("Esc", "close")))
  }

  paint({ tools }) {
    this.table.hidden = tools.length === 0
    this.none.hidden = tools.length > 0
    fillIn(this.body, tools.map(({ tool_name: name, calls, troubles, p50_ms: p50, p95_ms: p95 }) => h("tr", {},
      h("th", { scope: "row" }, name),
      number(calls),
      wrong(troubles.failed, "failed"), wrong(troubles.slow, "slow"), wrong(troubles.no_screen, "no_screen"),
      number(p50 === null ? "–" : duration(p50)), number(p95 === null ? "–" : duration(p95)))))
  }
}

function number(text) {
  return h("td", { class: "cell-number" }, String(text))
}

function wrong(count, kind) {
  return h("td", { class: "cell-number" }, count > 0 ? h("span", { class: `mark is-${kind}` }, String(count)) : h("span", { class: "muted" }, "0"))
}

function keys(names, what) {
  return h("span", {}, names.split(" ").map((name) => h("kbd", {}, name)), ` ${what}`)
}
