// All that questions are made of, as one part of the bundle that is fetched when the first one is there.

export { changeText, hasSend, isAsking, keptCall, mayChange, problemsOf, questionView, receiptOf, spokenQuestion } from "../core/questions.js"
export { defineQuestion } from "../elements/question.js"
export { Attention } from "./attention.js"
export { Drafts } from "./drafts.js"
export { Sheet } from "./sheet.js"
