// All that questions are made of, as one part of the bundle that is fetched when the first one is there.

import { h } from "../elements/dom.js"
import { styleOf } from "../net/place.js"
import { learnToAsk } from "../words/asking.js"

export { changeText, hasSend, isAsking, mayChange, problemsOf, questionView, receiptOf, spokenQuestion } from "../core/questions.js"
export { defineQuestion } from "../elements/question.js"
export { Attention } from "./attention.js"
export { Drafts } from "./drafts.js"
export { Sheet } from "./sheet.js"

/** Without their style questions are plain, and can be answered all the same. */
const styled = new Promise((resolve) => {
  document.head.append(h("link", { rel: "stylesheet", href: styleOf("asking"), on: { load: resolve, error: resolve } }))
})

/** Let `words` say what questions say; resolves once questions can be shown. */
export async function prepare(words) {
  await Promise.all([learnToAsk(words), styled])
}
