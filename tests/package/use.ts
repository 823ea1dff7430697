// What a user of the package writes; `@ts-expect-error` marks what the types must refuse.

import { companion as bridge, CompanionClient, RevisionConflict, ToolFailed } from "companion-ws"
import { CompanionClient as Alone, type Presence, type SessionJoined } from "companion-ws/client"
import type { Command, Entry, MessagesByType } from "companion-ws/messages"
import { companion as alone } from "companion-ws/elevenlabs"

export async function use(url: string, SomeSocket: typeof WebSocket): Promise<void> {
  await using client = new CompanionClient(url, { token: async () => "t", WebSocket: SomeSocket })
  const same: Alone = client
  await same.ready

  const update = await client.contextualUpdate("quote_ready", { cost: 12.99 }, { contextId: "q" })
  const seq: number = update.seq
  const text: string = update.text
  const set = await client.setState("step", 1, { ifRevision: 0 })
  const revision: number = set.revision
  const record = await client.call("companion_confirm", { title: "Buy?" })
  const result: string = record.result
  const screen: Presence = await client.waitForScreen({ timeoutMs: 10 })
  const joined: SessionJoined | null = client.joined
  const limit: number | undefined = joined?.limits.message_bytes

  await client.send({ type: "screen_command", name: "toast", text: "Saved" })
  const command: Command = { type: "state_get" }
  await client.send(command)
  // @ts-expect-error there is no such command
  await client.send({ type: "state_updte", key: "k", value: 1 })
  // @ts-expect-error a key is missing
  await client.send({ type: "state_update", value: 1 })
  // @ts-expect-error the server says so, no client does
  await client.send({ type: "session_ended", reason: "over" })

  for await (const entry of client.records()) {
    if (entry.type === "client_tool_call") console.log(entry.client_tool_call.tool_name, entry.handled_by)
    if (entry.type === "state_updated") console.log(entry.key, entry.revision)
    // @ts-expect-error only some records have one
    console.log(entry.tool_call_id)
  }
  const off: () => void = client.on("presence", (message) => console.log(message.event, message.role))
  client.on("record", (entry: Entry) => console.log(entry.sender.role))
  client.on("status", ({ phase, attempt }) => console.log(phase, attempt))
  client.on("close", ({ code, reason }) => console.log(code ?? "never connected", reason))
  client.on("error", (refusal: MessagesByType["error"]) => console.log(refusal.code))
  // @ts-expect-error nothing is called that
  client.on("prescence", () => {})
  off()

  const failed: unknown = null
  if (failed instanceof RevisionConflict) console.log(failed.details.value)
  if (failed instanceof ToolFailed) console.log(failed.result)
  console.log(seq, text, revision, result, screen.device, limit, bridge === alone)
}
