// The Durable Streams reference server with files: node streams_server.mjs MODULES FOLDER
import http from "node:http"
import { createRequire } from "node:module"
import { pathToFileURL } from "node:url"

const say = console.log
console.log = console.info = () => {} // its own words come before the port

// Connections idle while others are measured, and are kept.
const listen = http.Server.prototype.listen
http.Server.prototype.listen = function (...how) {
  this.keepAliveTimeout = 0
  return listen.apply(this, how)
}

const [modules, folder] = process.argv.slice(2)
const found = createRequire(`${modules}/`).resolve("@durable-streams/server")
const { DurableStreamTestServer } = await import(pathToFileURL(found))
const server = new DurableStreamTestServer({ port: 0, dataDir: folder, compression: false })
await server.start()
say(server.port ?? new URL(server.baseUrl ?? server.url).port)
process.stdin.on("end", () => process.exit(0)).resume()
