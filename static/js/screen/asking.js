// All that questions are made of, as one part of the bundle that is fetched when the first one is there.

export { hasSend, isAsking, patternsOf, questionView, receiptOf, spokenQuestion } from "../core/questions.js"
export { defineQuestion } from "../elements/question.js"
