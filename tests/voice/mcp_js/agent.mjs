// The official TypeScript clients as an agent: says what it knows as JSON lines, goes on at a line.
//
//   node agent.mjs '{"modules": "…", "kind": "tasks" | "links" | "stdio", …}'

import { createInterface } from "node:readline"
import { pathToFileURL } from "node:url"

const options = JSON.parse(process.argv[2])
const { kind, url, token, session, question } = options
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const say = (message) => console.log(JSON.stringify(message))
const told = () => lines.next()
const load = (path) => import(pathToFileURL(`${options.modules}/node_modules/@modelcontextprotocol/${path}`).href)
const about = { name: "agent", version: "1" }

function http(Transport) {
  const headers = { Authorization: `Bearer ${token}`, "X-Companion-Session": session }
  return new Transport(new URL(`${url}/mcp`), { requestInit: { headers } })
}

/** The experiment of 2025-11-25: a task, looked at by its handle, and its result. */
async function tasks() {
  const { Client } = await load("sdk/dist/esm/client/index.js")
  const { StreamableHTTPClientTransport } = await load("sdk/dist/esm/client/streamableHttp.js")
  const { CallToolResultSchema } = await load("sdk/dist/esm/types.js")
  const client = new Client(about)
  await client.connect(http(StreamableHTTPClientTransport))
  const { tools } = await client.listTools()
  const stream = client.experimental.tasks.callToolStream(
    { name: "ask", arguments: question }, undefined, { task: { ttl: 600_000 } },
  )
  const { value: begun } = await stream.next()
  say({ begun, support: tools.find((tool) => tool.name === "ask").execution })
  await told()
  let task
  do {
    await new Promise((resolve) => setTimeout(resolve, 50))
    task = await client.experimental.tasks.getTask(begun.task.taskId)
  } while (task.status === "working")
  say({ task, answer: await client.experimental.tasks.getTaskResult(task.taskId, CallToolResultSchema) })
  say({ after: await client.callTool({ name: "get_state", arguments: {} }) })
  await client.close()
}

/** 2026-07-28 with links: the request comes in rounds. */
async function links() {
  const { Client, StreamableHTTPClientTransport } = await load("client/dist/index.mjs")
  const capabilities = { elicitation: { url: {} } }
  const client = new Client(about, { capabilities, versionNegotiation: { mode: "auto" } })
  client.setRequestHandler("elicitation/create", async ({ params }) => {
    say({ link: params })
    await told()
    return { action: "accept" }
  })
  await client.connect(http(StreamableHTTPClientTransport))
  say({ answer: await client.callTool({ name: "ask", arguments: question }) })
  say({ after: await client.callTool({ name: "get_state", arguments: {} }) })
  await client.close()
}

await { tasks, links }[kind]()
process.exit(0)
