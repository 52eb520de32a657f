import { SseParser } from './sse';
import type { ServerProps } from './types';

export interface ChatTurn {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export interface ChatRequest {
  model: string;
  messages: ChatTurn[];
  /** What the server does with a conversation that is longer: `window` or `rounds=N`. */
  context_policy?: string;
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  seed?: number;
}

export interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  prompt_tokens_details?: { cached_tokens?: number };
}

export type ChatEvent =
  | { type: 'content'; text: string }
  | { type: 'reasoning'; text: string }
  | { type: 'finish'; reason: string }
  | { type: 'dropped'; messages: number }
  | { type: 'usage'; usage: Usage };

/** A failure of the server or of the way to it. `code` is `network` when no answer arrived, `incomplete` when a stream broke off. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly code?: string,
    readonly status?: number,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

const PROBE_TIMEOUT_MS = 5000;

function endpoint(path: string): string {
  return new URL(path, document.baseURI).href;
}

function headers(apiKey: string, json: boolean): Record<string, string> {
  return {
    ...(json ? { 'Content-Type': 'application/json' } : {}),
    ...(apiKey ? { Authorization: `Bearer ${apiKey}` } : {}),
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined;
}

function parseJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    return undefined;
  }
}

function toError(body: unknown, fallback: string, status?: number): ApiError {
  const error = isRecord(body) ? body.error : undefined;
  if (typeof error === 'string') return new ApiError(error, undefined, status);
  if (!isRecord(error)) return new ApiError(fallback, undefined, status);
  return new ApiError(text(error.message) ?? fallback, text(error.code) ?? text(error.type), status);
}

async function failure(response: Response): Promise<ApiError> {
  const body = parseJson(await response.text().catch(() => ''));
  return toError(body, `${response.status} ${response.statusText}`.trim(), response.status);
}

async function getJson(path: string, apiKey: string): Promise<unknown> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PROBE_TIMEOUT_MS);
  try {
    const response = await fetch(endpoint(path), { headers: headers(apiKey, false), signal: abort.signal });
    if (!response.ok) throw await failure(response);
    return parseJson(await response.text());
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(String(error), 'network');
  } finally {
    clearTimeout(timer);
  }
}

/** Facts of the served model: `/props`, or the first entry of `/v1/models` where a server has no `/props`. */
export async function fetchProps(apiKey: string): Promise<ServerProps> {
  try {
    const props = await getJson('props', apiKey);
    if (isRecord(props) && typeof props.model === 'string') {
      return {
        model: props.model,
        context: typeof props.context === 'number' ? props.context : undefined,
        architecture: text(props.architecture),
        parameters: formatParameters(props.parameters),
        quantization: text(props.quantization),
        version: text(props.version),
      };
    }
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
  const models = await getJson('v1/models', apiKey);
  const first: unknown = isRecord(models) && Array.isArray(models.data) ? models.data[0] : undefined;
  return { model: (isRecord(first) && text(first.id)) || 'default' };
}

function formatParameters(value: unknown): string | undefined {
  if (typeof value !== 'number') return text(value);
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)}B`;
  return value >= 1e6 ? `${Math.round(value / 1e6)}M` : String(value);
}

/** Events carried by one `data:` payload. Unknown fields are ignored; an `error` member throws. */
export function readChunk(payload: string): ChatEvent[] {
  const chunk = parseJson(payload);
  if (!isRecord(chunk)) return [];
  if (chunk.error !== undefined && chunk.error !== null) throw toError(chunk, 'The server reported an error.');
  const events: ChatEvent[] = [];
  const choice: unknown = Array.isArray(chunk.choices) ? chunk.choices[0] : undefined;
  if (isRecord(choice)) {
    const delta = isRecord(choice.delta) ? choice.delta : {};
    // Two names are in use for the same thing; some servers send both with equal text.
    const reasoning = text(delta.reasoning_content) ?? text(delta.reasoning);
    if (reasoning !== undefined) events.push({ type: 'reasoning', text: reasoning });
    const content = text(delta.content);
    if (content !== undefined) events.push({ type: 'content', text: content });
    if (typeof choice.finish_reason === 'string') events.push({ type: 'finish', reason: choice.finish_reason });
  }
  const dropped = isRecord(chunk.context) ? chunk.context.dropped_messages : undefined;
  if (typeof dropped === 'number' && dropped > 0) events.push({ type: 'dropped', messages: dropped });
  if (isRecord(chunk.usage)) events.push({ type: 'usage', usage: chunk.usage as Usage });
  return events;
}

/**
 * Asks for an answer and yields it as it arrives. Throws ApiError; an abort through `signal` surfaces as the browser's AbortError.
 */
export async function* streamChat(request: ChatRequest, apiKey: string, signal: AbortSignal): AsyncGenerator<ChatEvent> {
  let response: Response;
  try {
    response = await fetch(endpoint('v1/chat/completions'), {
      method: 'POST',
      headers: headers(apiKey, true),
      body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(String(error), 'network');
  }
  if (!response.ok || !response.body) throw await failure(response);
  yield* readEvents(response.body, signal);
}

async function* readEvents(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<ChatEvent> {
  const reader = body.getReader();
  const parser = new SseParser();
  let finished = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      for (const payload of done ? parser.finish() : parser.push(value)) {
        if (payload === '[DONE]') return;
        for (const event of readChunk(payload)) {
          finished ||= event.type === 'finish';
          yield event;
        }
      }
      if (done) break;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError(String(error), 'incomplete');
  } finally {
    reader.cancel().catch(() => undefined);
  }
  if (!finished) throw new ApiError('The stream ended before the answer was complete.', 'incomplete');
}
