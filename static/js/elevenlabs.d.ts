// Types of the bridge between an ElevenLabs conversation in a page and a companion session.

import type { SessionJoined, WebSocketConstructor } from "./client.js"

export type { SessionJoined }

/** What the agent has not been told yet. */
export interface Letter {
  kind: "turn" | "update" | "activity"
  text: string
  contextId: string | null
}

export interface CompanionOptions {
  /** A session token with role `agent`, or a user token; a function is asked again at its end. */
  token: string | (() => string | Promise<string>)
  /** The companion server; by default the one the script came from. */
  url?: string | URL
  /** A session that exists; a session token knows its own. */
  sessionId?: string | null
  /** What others see in presence. */
  device?: string
  /** Names listed beside the companion's four, for those who copy `clientTools` (React does). */
  tools?: string[]
  /** A tool is answered within this many milliseconds; 19,000 by default. */
  answerWithinMs?: number
  words?: { refused?: string; unreachable?: string; late?: (question: string, answer: string) => string }
  /** A session token was renewed. */
  onToken?: (token: string) => void
  /** The session cannot be reached any more: the close code and its reason. */
  onEnd?: (status: { code: number; reason: string }) => void
  /** A `WebSocket` to use instead of the runtime's; Node before 22 has none and uses the package `ws`. */
  WebSocket?: WebSocketConstructor
  environment?: object
}

/** As much of the SDK's conversation as is used. */
export interface ConversationLike {
  getId?(): string
  isOpen?(): boolean
  sendUserMessage(text: string): void
  sendContextualUpdate(text: string, options?: { contextId?: string }): void
  sendUserActivity(): void
}

export type ClientTools = Record<string, (parameters: any) => any>

export declare class CompanionBridge {
  constructor(options: CompanionOptions)
  /** Resolves once joined; rejects where that will never be. */
  readonly ready: Promise<SessionJoined>
  readonly sessionId: string | null
  readonly conversationId: string | null
  readonly pending: Letter[]
  start<C extends ConversationLike>(
    Conversation: { startSession(options: any): Promise<C> },
    options?: object,
  ): Promise<C>
  options<O extends object>(own?: O): O & { clientTools: ClientTools }
  clientTools(own?: ClientTools): ClientTools
  attach(conversation: ConversationLike): void
  detach(): void
  /** Over WebRTC the widget shows neither transcripts nor the end of a call. */
  attachWidget(element: HTMLElement): void
  stop(): void
}

export declare function companion(options: CompanionOptions): CompanionBridge
