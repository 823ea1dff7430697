// Parameters as an agent can write them: what its tool schema cannot nest comes as JSON text.

const NESTED = new Set(["schema", "data", "ui", "options"])

/** A tool defined at ElevenLabs takes no object of unknown shape; its model writes it as text. */
export function unfolded(name, parameters) {
  if (!name.startsWith("companion_")) return parameters
  const read = ([key, value]) => [key, NESTED.has(key) && typeof value === "string" ? readText(value) : value]
  return Object.fromEntries(Object.entries(parameters).map(read))
}

function readText(text) {
  try {
    const value = JSON.parse(text)
    return Object(value) === value ? value : text
  } catch {
    return text
  }
}
