// A program in Node that does what it is told: one JSON line is code to run, one JSON line its result.

import { createInterface } from "node:readline"
import { createRequire } from "node:module"
import { pathToFileURL } from "node:url"

const { modules, js } = JSON.parse(process.argv[2])
// Node 20 has no WebSocket of its own.
globalThis.WebSocket ??= createRequire(`${modules}/`)("ws").WebSocket
const load = (name) => import(pathToFileURL(`${js}/${name}`))
const kept = {}
const AsyncFunction = (async () => {}).constructor

for await (const line of createInterface({ input: process.stdin })) {
  const { id, code, given } = JSON.parse(line)
  const run = new AsyncFunction("load", "kept", "given", code)
  run(load, kept, given).then(
    (result) => console.log(JSON.stringify({ id, result })),
    (error) => console.log(JSON.stringify({ id, error: { name: error.name, message: error.message, code: error.code } })),
  )
}
