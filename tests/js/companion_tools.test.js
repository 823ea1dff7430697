// The companion tools, against the same golden list as Python's and the docs'.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { COMPANION_TOOLS, isCard, isChangeable } from "../../static/js/core/companion-tools.js"
import { isAsking, questionView, receiptOf, results } from "../../static/js/core/questions.js"
import { learnToAsk } from "../../static/js/words/asking.js"
import { english } from "../../static/js/words/words.js"

await learnToAsk(english)

const about = { words: english, locale: "en", nowMs: 0 }
const golden = new Map(Object.entries(JSON.parse(readFileSync(new URL("../wire/companion_tools/list.json", import.meta.url), "utf8")).tools))
const element = readFileSync(new URL("../../static/js/elements/question.js", import.meta.url), "utf8")

test("a screen names the tools of the golden list and reads their parameters", () => {
  assert.deepEqual(Object.keys(COMPANION_TOOLS), [...golden.keys()])
  for (const [name, tool] of golden) {
    assert.deepEqual(COMPANION_TOOLS[name].parameters, tool.parameters)
    assert.equal(isCard(name), !tool.is_question)
    assert.equal(isChangeable(name), tool.is_changeable)
  }
  assert.deepEqual([isCard("mine"), isCard(undefined)], [false, false])
})

for (const [name, tool] of golden) {
  test(`${name} is shown as what it is, and can be answered where it asks`, () => {
    const view = questionView({ name, parameters: tool.example }, about)

    assert.notEqual(view.kind, "card", "static/js/core/questions.js: ASKS")
    assert.equal(isAsking(view), tool.is_question, "static/js/core/questions.js: isAsking")
    if (tool.is_question) assert.ok(element.includes(`case "${view.kind}":`), "static/js/elements/question.js: #ask")
  })

  test(`every answer to ${name} leaves a receipt of its own`, () => {
    for (const status of Object.keys(tool.answers)) {
      const receipt = receiptOf({ answer: { by: "ui", isError: false, result: { status } } }, {}, about, true)
      assert.notEqual(receipt?.text, english("answered"), `static/js/core/questions.js: receiptOf has nothing for ${status}`)
    }
  })
}

test("what a tap answers is what the golden list says a result may say", () => {
  const option = { id: "air", label: "UPS Next Day" }
  const given = { chosen: option, chosenMany: [option], submitted: {} }
  const may = new Map([...golden.values()].flatMap(({ answers }) => Object.entries(answers)))
  const said = Object.entries(results).map(([name, result]) => JSON.parse(result(given[name])))

  for (const { status, ...rest } of said) {
    assert.ok(may.has(status), `tests/wire/companion_tools/list.json: ${status}`)
    assert.deepEqual(Object.keys(rest).filter((field) => !may.get(status).includes(field)), [])
  }
  assert.deepEqual([...may.keys()].filter((status) => !said.some((each) => each.status === status)), [], "static/js/core/questions.js: results")
})
