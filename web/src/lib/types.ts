/** What the page keeps about one conversation turn and its surroundings. */

export type Role = 'user' | 'assistant';

/** How an answer was produced; times are milliseconds, counts are tokens. */
export interface AnswerStats {
  firstTokenMs: number;
  generateMs: number;
  promptTokens?: number;
  cachedTokens?: number;
  completionTokens?: number;
}

export interface AnswerError {
  message: string;
  /** The server's machine-readable code, or one of the page's own: `network`, `incomplete`. */
  code?: string;
}

export interface Message {
  id: string;
  role: Role;
  content: string;
  reasoning?: string;
  /** How long the model thought before its answer began. */
  reasoningMs?: number;
  finishReason?: string;
  /** Older messages that the server left out when it asked the model. */
  leftOut?: number;
  stopped?: boolean;
  error?: AnswerError;
  stats?: AnswerStats;
}

export interface ConversationInfo {
  id: string;
  title: string;
  createdAt: number;
  updatedAt: number;
}

/** The subset of `GET /props` that the page shows. */
export interface ServerProps {
  model: string;
  context?: number;
  architecture?: string;
  parameters?: string;
  quantization?: string;
  version?: string;
}
