// What questions, the form for a code and the end say, in each language: fetched with the first of them,
// so that the first card comes sooner.

const ASKING = new Map([
  ["ar", () => import("./asking-ar.js")],
  ["de", () => import("./asking-de.js")],
  ["en", () => import("./asking-en.js")],
  ["es", () => import("./asking-es.js")],
  ["fr", () => import("./asking-fr.js")],
  ["it", () => import("./asking-it.js")],
  ["nl", () => import("./asking-nl.js")],
  ["pt", () => import("./asking-pt.js")],
  ["zh", () => import("./asking-zh.js")],
])

/** Let `words` say what questions say, in its own language. */
export async function learnToAsk(words) {
  const { default: more } = await (ASKING.get(words.language) ?? ASKING.get("en"))()
  words.learn(more)
}
