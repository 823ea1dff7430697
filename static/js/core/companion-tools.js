// The tools that screens answer with no code of the agent's author.
// The catalogue is companion_ws/core/companion_tools.py; tests/wire/companion_tools/list.json holds this file to it.

import { lookUp } from "./protocol.js"

/** Each tool with the parameters that are read of it, whether it asks somebody, and whether an answer can be changed later. */
export const COMPANION_TOOLS = {
  companion_show: { isQuestion: false, parameters: ["title", "data", "ui", "labels"] },
  companion_choose: { isQuestion: true, isChangeable: true, parameters: ["title", "options", "multiple", "min", "max"] },
  companion_form: { isQuestion: true, isChangeable: true, parameters: ["title", "schema"] },
  companion_confirm: {
    isQuestion: true,
    parameters: ["title", "text", "amount", "currency", "items", "merchant", "confirm_label", "cancel_label"],
  },
}

/** Whether this companion tool only shows something, so that nobody waits for an answer. */
export function isCard(toolName) {
  return lookUp(COMPANION_TOOLS, toolName)?.isQuestion === false
}

/** Whether a person may change their answer to this companion tool, which tells the agent once more. */
export function isChangeable(toolName) {
  return lookUp(COMPANION_TOOLS, toolName)?.isChangeable === true
}

/** Whether this companion tool asks somebody. */
export function isQuestion(toolName) {
  return lookUp(COMPANION_TOOLS, toolName)?.isQuestion === true
}
