// The messages of a companion session. Made of its AsyncAPI document by
// `companion-ws asyncapi --typescript`; every change here is lost.

/** What this server takes; 0 is no limit. */
export interface Limits {
  message_bytes: number
}

/** A picture that a record names. */
export interface Picture {
  url: string
  media_id?: string
  media_type?: string
  width?: number
  height?: number
  size_bytes?: number
  problem?: string
}

/** Somebody who is connected. */
export interface PresenceEntry {
  connection_id: string
  role: "agent" | "observer" | "ui"
  user: string
  device: string | null
  device_id: string | null
  since: number
  screen?: string
}

/** What stands under a key, and the `seq` of the record that set it. */
export interface StateValue {
  value: any
  revision: number
}

/** What ElevenLabs nests under `client_tool_call`. */
export interface ToolCall {
  tool_name: string
  tool_call_id: string
  parameters?: Record<string, any> | null
  expects_response?: boolean | null
  timeout_ms?: number | null
}

/** Something the other side should know; screens show it as a card. */
export interface ContextualUpdateCommand {
  type: "contextual_update"
  text: string
  data?: any
  labels?: Record<string, string> | null
  ui?: Record<string, any> | null
  context_id?: string | null
  locked?: boolean | null
  requestId?: string
}

/** Set a key; `if_revision` 0 means only if it is absent. */
export interface StateUpdateCommand {
  type: "state_update"
  key: string
  value: any
  if_revision?: number | null
  requestId?: string
}

/** Remove a key. */
export interface StateDeleteCommand {
  type: "state_delete"
  key: string
  if_revision?: number | null
  requestId?: string
}

/** Ask for the state, or for one key of it; answered to the sender alone. */
export interface StateGetCommand {
  type: "state_get"
  key?: string | null
  requestId?: string
}

/** The agent calls a tool: a server tool, or a question to the screens. */
export interface ClientToolCallCommand {
  type: "client_tool_call"
  client_tool_call: ToolCall
  traceparent?: string | null
  requestId?: string
}

/** A screen's answer; the first one wins. `result` is a string, usually JSON text. */
export interface ClientToolResultCommand {
  type: "client_tool_result"
  tool_call_id: string
  result: string
  is_error?: boolean | null
  traceparent?: string | null
  requestId?: string
}

/** The agent withdraws a call. */
export interface ClientToolCancelCommand {
  type: "client_tool_cancel"
  tool_call_id: string
  requestId?: string
}

/** What the person says by other means than voice; an adapter makes a turn of it. */
export interface UserMessageCommand {
  type: "user_message"
  text: string
  in_reply_to?: string | null
  result?: string | null
  requestId?: string
}

/** A button of a card that is no tool call. */
export interface UiActionCommand {
  type: "ui_action"
  action_id: string
  surface_id: string
  name: string
  context?: any
  requestId?: string
}

/** What this screen shows and what is chosen, in a few words for the agent. */
export interface ScreenCommand {
  type: "screen"
  text: string
  requestId?: string
}

/** This screen has painted the record `of_seq`; `problem` says what of it could not be shown. */
export interface RenderedCommand {
  type: "rendered"
  of_seq: number
  problem?: string | null
  requestId?: string
}

/** The agent moves a screen's attention. */
export interface ScreenCommandCommand {
  type: "screen_command"
  name: "highlight" | "navigate" | "scroll_to" | "toast"
  target?: string | null
  text?: string | null
  requestId?: string
}

/** The person is busy on the screen; the agent may hold back. */
export interface UserActivityCommand {
  type: "user_activity"
  requestId?: string
}

/** Transcript of the person. */
export interface UserTranscriptCommand {
  type: "user_transcript"
  user_transcription_event: Record<string, any>
  requestId?: string
}

/** Transcript of the agent. */
export interface AgentResponseCommand {
  type: "agent_response"
  agent_response_event: Record<string, any>
  requestId?: string
}

/** What the agent had said when it was interrupted. */
export interface AgentResponseCorrectionCommand {
  type: "agent_response_correction"
  agent_response_correction_event: Record<string, any>
  requestId?: string
}

/** The person broke in. */
export interface InterruptionCommand {
  type: "interruption"
  interruption_event: Record<string, any>
  requestId?: string
}

/** The agent starts a tool somewhere. */
export interface AgentToolRequestCommand {
  type: "agent_tool_request"
  agent_tool_request: Record<string, any>
  requestId?: string
}

/** A tool of the agent has ended. */
export interface AgentToolResponseCommand {
  type: "agent_tool_response"
  agent_tool_response: Record<string, any>
  requestId?: string
}

/** The conversation began; its id is bound to the session. */
export interface ConversationInitiationMetadataCommand {
  type: "conversation_initiation_metadata"
  conversation_initiation_metadata_event: Record<string, any>
  requestId?: string
}

/** The owner lets a device in, or not. */
export interface PairingAnswerCommand {
  type: "pairing_answer"
  pairing_id: string
  allow: boolean
  requestId?: string
}

/** A session token asks for its successor. */
export interface TokenRenewCommand {
  type: "token_renew"
  requestId?: string
}

/** Answered by `pong`; no activity. */
export interface PingCommand {
  type: "ping"
  resume?: boolean | null
  requestId?: string
}

/** What a client may send, by `type`. */
export interface CommandsByType {
  contextual_update: ContextualUpdateCommand
  state_update: StateUpdateCommand
  state_delete: StateDeleteCommand
  state_get: StateGetCommand
  client_tool_call: ClientToolCallCommand
  client_tool_result: ClientToolResultCommand
  client_tool_cancel: ClientToolCancelCommand
  user_message: UserMessageCommand
  ui_action: UiActionCommand
  screen: ScreenCommand
  rendered: RenderedCommand
  screen_command: ScreenCommandCommand
  user_activity: UserActivityCommand
  user_transcript: UserTranscriptCommand
  agent_response: AgentResponseCommand
  agent_response_correction: AgentResponseCorrectionCommand
  interruption: InterruptionCommand
  agent_tool_request: AgentToolRequestCommand
  agent_tool_response: AgentToolResponseCommand
  conversation_initiation_metadata: ConversationInitiationMetadataCommand
  pairing_answer: PairingAnswerCommand
  token_renew: TokenRenewCommand
  ping: PingCommand
}

export type Command = CommandsByType[keyof CommandsByType]

/** Something to know; screens show it as a card */
export interface ContextualUpdateMessage {
  type: "contextual_update"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  text: string
  data?: any
  labels?: Record<string, string> | null
  ui?: Record<string, any> | null
  context_id?: string | null
  locked?: boolean | null
}

/** A state key was set; `revision` is the record's seq */
export interface StateUpdatedMessage {
  type: "state_updated"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  key: string
  value: any
  revision: number
}

/** A state key was removed */
export interface StateDeletedMessage {
  type: "state_deleted"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  key: string
  revision: number
}

/** A tool was called, by `handled_by` server or screens */
export interface ClientToolCallMessage {
  type: "client_tool_call"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  client_tool_call: ToolCall
  handled_by: "screens" | "server"
  deadline_at: number | null
  joins?: string
  traceparent?: string
}

/** A call was answered; `result` is a string */
export interface ClientToolResultMessage {
  type: "client_tool_result"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  tool_name: string
  tool_call_id: string
  result: string
  is_error: boolean
  answered_by: string
  joins?: string
  traceparent?: string
}

/** A call was withdrawn after the agent had been released */
export interface ClientToolCancelMessage {
  type: "client_tool_cancel"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  tool_call_id: string
  question_open?: boolean
  joins?: string
}

/** Text from the person other than by voice, including late answers */
export interface UserMessageMessage {
  type: "user_message"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  text: string
  in_reply_to?: string | null
  result?: string | null
}

/** A button of a card was used */
export interface UiActionMessage {
  type: "ui_action"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  action_id: string
  surface_id: string
  name: string
  context?: any
}

/** Transcript of the person */
export interface UserTranscriptMessage {
  type: "user_transcript"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  user_transcription_event: Record<string, any>
}

/** Transcript of the agent */
export interface AgentResponseMessage {
  type: "agent_response"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  agent_response_event: Record<string, any>
}

/** The part of the agent's sentence that was spoken before an interruption */
export interface AgentResponseCorrectionMessage {
  type: "agent_response_correction"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  agent_response_correction_event: Record<string, any>
}

/** The person broke in */
export interface InterruptionMessage {
  type: "interruption"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  interruption_event: Record<string, any>
}

/** The agent starts a tool somewhere */
export interface AgentToolRequestMessage {
  type: "agent_tool_request"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  agent_tool_request: Record<string, any>
}

/** A tool of the agent has ended */
export interface AgentToolResponseMessage {
  type: "agent_tool_response"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  agent_tool_response: Record<string, any>
}

/** The conversation began */
export interface ConversationInitiationMetadataMessage {
  type: "conversation_initiation_metadata"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  conversation_initiation_metadata_event: Record<string, any>
}

/** The session is over; `reason` says why */
export interface SessionEndedMessage {
  type: "session_ended"
  session_id: string | null
  timestamp: number
  seq: number
  requestId: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  duplicate?: true
  reason: string
}

/** The first message, of one instant */
export interface SessionJoinedMessage {
  type: "session_joined"
  session_id: string | null
  timestamp: number
  protocol: number
  server: string
  created: boolean
  requested_session_id: string | null
  reason: "session_unavailable" | null
  connection_id: string
  role: "agent" | "observer" | "ui"
  user: string
  title: string | null
  language: string | null
  device_id: string | null
  seq: number
  first_seq: number | null
  epoch: string
  recovery: "none" | "replay" | "snapshot"
  state: Record<string, StateValue>
  presence: PresenceEntry[]
  conversation_id: string | null
  open_calls: (Record<string, any>)[]
  cards: (Record<string, any>)[]
  media: Picture[] | null
  expires_at: number | null
  limits: Limits
  left_out?: Record<string, number>
}

/** Somebody joined, left or dropped */
export interface PresenceMessage {
  type: "presence"
  session_id: string | null
  timestamp: number
  connection_id: string
  role: "agent" | "observer" | "ui"
  user: string
  device: string | null
  device_id: string | null
  since: number
  screen?: string
  event: "dropped" | "joined" | "left"
}

/** The state, sent to the client that asked */
export interface StateSnapshotMessage {
  type: "state_snapshot"
  session_id: string | null
  timestamp: number
  state: Record<string, StateValue>
  requestId?: string
}

/** A picture that a record names can be shown, from `/media/{media_id}`, or not: `problem` */
export interface MediaMessage {
  type: "media"
  session_id: string | null
  timestamp: number
  url: string
  media_id?: string
  media_type?: string
  width?: number
  height?: number
  size_bytes?: number
  problem?: string
}

/** The session ends at `expires_at` unless a command comes */
export interface SessionExpiringMessage {
  type: "session_expiring"
  session_id: string | null
  timestamp: number
  expires_at: number
}

/** A link or code was used: a page draws another */
export interface PairingUsedMessage {
  type: "pairing_used"
  session_id: string | null
  timestamp: number
  pairing_id: string
}

/** A device waits for the owner to let it in */
export interface PairingRequestMessage {
  type: "pairing_request"
  session_id: string | null
  timestamp: number
  pairing_id: string
  device: string | null
  verification: string
  expires_at: number
}

/** This token ends at `expires_at` */
export interface TokenExpiringMessage {
  type: "token_expiring"
  session_id: string | null
  timestamp: number
  expires_at: number
}

/** A fresh token */
export interface TokenRenewedMessage {
  type: "token_renewed"
  session_id: string | null
  timestamp: number
  token: string
  expires_at: number
  requestId?: string
}

/** A screen's contents and the current choice */
export interface ScreenMessage {
  type: "screen"
  session_id: string | null
  timestamp: number
  requestId?: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  text: string
}

/** A screen has painted the record `of_seq` */
export interface RenderedMessage {
  type: "rendered"
  session_id: string | null
  timestamp: number
  requestId?: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  of_seq: number
  problem?: string | null
}

/** The agent moves a screen's attention */
export interface ScreenCommandMessage {
  type: "screen_command"
  session_id: string | null
  timestamp: number
  requestId?: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
  name: "highlight" | "navigate" | "scroll_to" | "toast"
  target?: string | null
  text?: string | null
}

/** The person is busy on the screen */
export interface UserActivityMessage {
  type: "user_activity"
  session_id: string | null
  timestamp: number
  requestId?: string
  sender: { role: "agent" | "ui" | "server"; user: string; connection_id: string | null }
}

/** A command was refused; the connection stays open */
export interface ErrorMessage {
  type: "error"
  session_id: string | null
  timestamp: number
  code: string
  message: string
  requestId?: string | null
  retry_after_ms?: number
}

/** The answer to ping */
export interface PongMessage {
  type: "pong"
  session_id: string | null
  timestamp: number
  requestId?: string | null
}

/** What the server says, by `type`. */
export interface MessagesByType {
  contextual_update: ContextualUpdateMessage
  state_updated: StateUpdatedMessage
  state_deleted: StateDeletedMessage
  client_tool_call: ClientToolCallMessage
  client_tool_result: ClientToolResultMessage
  client_tool_cancel: ClientToolCancelMessage
  user_message: UserMessageMessage
  ui_action: UiActionMessage
  user_transcript: UserTranscriptMessage
  agent_response: AgentResponseMessage
  agent_response_correction: AgentResponseCorrectionMessage
  interruption: InterruptionMessage
  agent_tool_request: AgentToolRequestMessage
  agent_tool_response: AgentToolResponseMessage
  conversation_initiation_metadata: ConversationInitiationMetadataMessage
  session_ended: SessionEndedMessage
  session_joined: SessionJoinedMessage
  presence: PresenceMessage
  state_snapshot: StateSnapshotMessage
  media: MediaMessage
  session_expiring: SessionExpiringMessage
  pairing_used: PairingUsedMessage
  pairing_request: PairingRequestMessage
  token_expiring: TokenExpiringMessage
  token_renewed: TokenRenewedMessage
  screen: ScreenMessage
  rendered: RenderedMessage
  screen_command: ScreenCommandMessage
  user_activity: UserActivityMessage
  error: ErrorMessage
  pong: PongMessage
}

export type Message = MessagesByType[keyof MessagesByType]

/** A stored fact with its place in the session's log. */
export type Entry = ContextualUpdateMessage | StateUpdatedMessage | StateDeletedMessage | ClientToolCallMessage | ClientToolResultMessage | ClientToolCancelMessage | UserMessageMessage | UiActionMessage | UserTranscriptMessage | AgentResponseMessage | AgentResponseCorrectionMessage | InterruptionMessage | AgentToolRequestMessage | AgentToolResponseMessage | ConversationInitiationMetadataMessage | SessionEndedMessage
