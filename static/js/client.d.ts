// Types of the companion client for pages and programs; those of its messages are made: messages.d.ts.

/// <reference lib="esnext.disposable" />

import type {
  ClientToolResultMessage,
  Command,
  ContextualUpdateMessage,
  Entry,
  Message,
  MessagesByType,
  PresenceEntry,
  SessionJoinedMessage,
  StateDeletedMessage,
  StateUpdatedMessage,
  UserMessageMessage,
} from "./messages.js"

export type * from "./messages.js"

/** The first message of each connection. */
export type SessionJoined = SessionJoinedMessage
/** Somebody who is connected. */
export type Presence = PresenceEntry

/** How a phone joins: a link to scan or send, a code to type at `code_url` or to say. */
export interface Invitation {
  pairing_id: string
  url: string
  url_expires_at: number
  code: string
  code_expires_at: number
  code_url: string
}

/** A token, or a function that fetches one; it is asked again when the token has expired. */
export type Token = string | (() => string | Promise<string>)

export interface ClientOptions {
  token: Token
  /** A session that exists; without one a session is made. A session token knows its own. */
  sessionId?: string | null
  /** `agent` by default. */
  role?: "agent" | "ui" | "observer"
  /** What others see in presence. */
  device?: string
  /** The tools a screen answers; none: any. */
  tools?: string[]
  /** Ask for the records after this one first. */
  after?: number
  /** A command that has no answer by then fails; 120,000 by default. */
  answerWithinMs?: number
  /** The trace, in W3C's form, that a call made now belongs to; asked at each call. */
  traceparent?: () => string | undefined
  /** A session token was renewed. */
  onToken?: (token: string) => void
  /** A `WebSocket` to use instead of the runtime's; Node before 22 has none and uses the package `ws`. */
  WebSocket?: WebSocketConstructor
  /** `WebSocket`, `fetch`, timers and chance, for tests. */
  environment?: object
}

/** What makes sockets as the browser's `WebSocket` does. */
export type WebSocketConstructor = new (address: string, protocols: string[]) => {
  send(text: string): void
  close(code?: number, reason?: string): void
  readonly readyState: number
}

export interface Status {
  phase: "connecting" | "open" | "waiting" | "ended"
  code: number | null
  reason: string
  attempt: number
}

/** What the server refused, by its code. */
export declare class CompanionError extends Error {
  readonly code: string
  readonly details: Record<string, any>
}

/** `ifRevision` does not hold; `details` are the current `value` and `revision`. */
export declare class RevisionConflict extends CompanionError {}

export declare class ToolFailed extends Error {
  readonly toolName: string
  readonly result: any
}

/** The session cannot be reached any more. */
export declare class CompanionClosed extends Error {
  /** The close code; null where no connection was ever tried. */
  readonly code: number | null
  readonly reason: string
}

export declare class CompanionClient {
  /** Connects at once. `url` is the server's, by default the one the script came from. */
  constructor(url: string | URL, options: ClientOptions)
  constructor(options: ClientOptions & { url?: string | URL })
  /** Resolves once joined; rejects where that will never be. */
  readonly ready: Promise<CompanionClient>
  readonly sessionId: string | null
  readonly created: boolean
  readonly reason: "session_unavailable" | null
  readonly joined: SessionJoined | null
  readonly isConnected: boolean
  readonly seq: number
  readonly epoch: string | null
  /** Key to value; inherits nothing. */
  readonly state: Record<string, any>
  readonly presence: Presence[]
  readonly screens: Presence[]
  /** 0 where the key is absent. */
  revision(key: string): number

  contextualUpdate(
    text: string,
    data?: any,
    options?: { ui?: object; contextId?: string; labels?: Record<string, string>; locked?: boolean },
  ): Promise<ContextualUpdateMessage>
  setState(key: string, value: any, options?: { ifRevision?: number }): Promise<StateUpdatedMessage>
  deleteState(key: string, options?: { ifRevision?: number }): Promise<StateDeletedMessage>
  getState(): Promise<Record<string, any>>
  getState(key: string): Promise<any>
  userMessage(text: string, options?: { inReplyTo?: string; result?: unknown }): Promise<UserMessageMessage>
  /** The parsed result; rejects with ToolFailed. */
  callTool(
    toolName: string,
    parameters?: object,
    options?: { toolCallId?: string; timeoutMs?: number; traceparent?: string },
  ): Promise<any>
  /** The `client_tool_result` record. */
  call(
    toolName: string,
    parameters?: object,
    options?: { toolCallId?: string; timeoutMs?: number; traceparent?: string },
  ): Promise<ClientToolResultMessage>
  answerTool(toolCallId: string, result: any, options?: { isError?: boolean }): Promise<Entry>
  cancelTool(toolCallId: string): Promise<Entry>
  /** Any command; null for what the server only passes on. */
  send(command: Command): Promise<Message | null>
  pair(options?: { ttlS?: number }): Promise<Invitation>
  http(method: string, path: string, body?: any): Promise<any>

  /** Every record from the first join on, in order, each once. */
  records(): AsyncGenerator<Entry, void, void>
  on(type: "close", listener: (closed: CompanionClosed) => void): () => void
  on(type: "status", listener: (status: Status) => void): () => void
  on(type: "record", listener: (record: Entry) => void): () => void
  on(type: "message", listener: (message: Message) => void): () => void
  on<T extends keyof MessagesByType>(type: T, listener: (message: MessagesByType[T]) => void): () => void
  off(type: "close" | "status" | "record" | "message" | keyof MessagesByType, listener: (event: any) => void): void
  waitForScreen(options?: { timeoutMs?: number }): Promise<Presence>
  waitUntil(holds: (companion: CompanionClient) => boolean, options?: { timeoutMs?: number }): Promise<void>
  /** Leave; what was not acknowledged by now is given up. */
  close(): void
  [Symbol.asyncDispose](): Promise<void>
}
