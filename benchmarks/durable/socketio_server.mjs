// Socket.IO that stores each event before it acknowledges: node socketio_server.mjs MODULES FOLDER
import { createServer } from "node:http"
import { createRequire } from "node:module"

const [modules, folder] = process.argv.slice(2)
const require = createRequire(`${modules}/`)
const { Server } = require("socket.io")
const Database = require("better-sqlite3")

const database = new Database(`${folder}/log.db`)
database.pragma("journal_mode = WAL")
database.pragma("synchronous = FULL")
database.exec("CREATE TABLE records (seq INTEGER PRIMARY KEY, session TEXT, body TEXT)")
const insert = database.prepare("INSERT INTO records (session, body) VALUES (?, ?)")
const http = createServer()
new Server(http).on("connection", (socket) => {
  socket.on("m", (message, acknowledge) => {
    insert.run(socket.id, JSON.stringify(message))
    acknowledge()
  })
})
http.listen(0, "127.0.0.1", 4096, () => console.log(http.address().port))
process.stdin.on("end", () => process.exit(0)).resume()
