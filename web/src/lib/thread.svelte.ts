import { ApiError, streamChat, type ChatRequest, type ChatTurn, type Usage } from './api';
import type { SettingValues } from './settings.svelte';
import type { ConversationInfo, Message } from './types';

/** `waiting`: sent, no token yet (queue and prefill). */
export type Phase = 'idle' | 'waiting' | 'streaming';

export interface ThreadHost {
  readonly model: string;
  readonly settings: SettingValues;
  /** The thread changed and should be kept; called often while an answer arrives. */
  changed(thread: Thread, final: boolean): void;
  unreachable(): void;
}

export function newId(): string {
  // randomUUID exists only in secure contexts, and a server on the local network is usually plain HTTP.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The turns to send: the system prompt, then every turn that has text. A failed answer and its stub are left out. */
export function toTurns(systemPrompt: string, messages: readonly Message[]): ChatTurn[] {
  const turns: ChatTurn[] = systemPrompt.trim() ? [{ role: 'system', content: systemPrompt.trim() }] : [];
  for (const { role, content } of messages) if (content) turns.push({ role, content });
  return turns;
}

export function toRequest(model: string, settings: SettingValues, messages: readonly Message[]): ChatRequest {
  const request: ChatRequest = {
    model,
    messages: toTurns(settings.systemPrompt, messages),
    context_policy: settings.rounds === null ? 'window' : `rounds=${settings.rounds}`,
  };
  if (settings.temperature !== null) request.temperature = settings.temperature;
  if (settings.topP !== null) request.top_p = settings.topP;
  if (settings.maxTokens !== null) request.max_tokens = settings.maxTokens;
  if (settings.seed !== null) request.seed = settings.seed;
  return request;
}

/** One conversation in memory, with at most one answer under way. */
export class Thread {
  info: ConversationInfo = $state({ id: '', title: '', createdAt: 0, updatedAt: 0 });
  messages: Message[] = $state([]);
  phase: Phase = $state('idle');
  private abort?: AbortController;

  constructor(
    info: ConversationInfo,
    messages: Message[],
    private readonly host: ThreadHost,
  ) {
    this.info = info;
    this.messages = messages;
  }

  get busy(): boolean {
    return this.phase !== 'idle';
  }

  /** Adds a user turn and asks for its answer. Resolves when the answer has ended, in whatever way. */
  async ask(content: string): Promise<void> {
    if (this.busy) return;
    this.messages.push({ id: newId(), role: 'user', content });
    await this.answer();
  }

  /** Replaces a user turn, drops all that followed it, and asks again. */
  async edit(id: string, content: string): Promise<void> {
    const at = this.messages.findIndex((message) => message.id === id);
    if (this.busy || at < 0) return;
    this.messages.length = at;
    await this.ask(content);
  }

  /** Drops the last answer, if there is one, and asks again. */
  async regenerate(): Promise<void> {
    if (this.busy) return;
    if (this.messages[this.messages.length - 1]?.role === 'assistant') this.messages.pop();
    if (this.messages.length > 0) await this.answer();
  }

  stop(): void {
    this.abort?.abort();
  }

  private async answer(): Promise<void> {
    const request = toRequest(this.host.model, this.host.settings, this.messages);
    this.messages.push({ id: newId(), role: 'assistant', content: '' });
    // Read back through the array: the pushed object is not reactive, its proxy is.
    const message = this.messages[this.messages.length - 1] as Message;
    const abort = new AbortController();
    this.abort = abort;
    this.phase = 'waiting';
    this.info.updatedAt = Date.now();
    this.host.changed(this, true);
    try {
      await this.receive(request, message, abort.signal);
    } catch (error) {
      if (abort.signal.aborted) message.stopped = true;
      else this.fail(message, error);
    } finally {
      this.abort = undefined;
      this.phase = 'idle';
      this.info.updatedAt = Date.now();
      this.host.changed(this, true);
    }
  }

  private fail(message: Message, error: unknown): void {
    const code = error instanceof ApiError ? error.code : undefined;
    message.error = { message: error instanceof Error ? error.message : String(error), code };
    if (code === 'network' || code === 'incomplete') this.host.unreachable();
  }

  private async receive(request: ChatRequest, message: Message, signal: AbortSignal): Promise<void> {
    const sent = performance.now();
    let first = 0;
    let usage: Usage = {};
    try {
      for await (const event of streamChat(request, this.host.settings.apiKey, signal)) {
        if (event.type === 'usage') usage = event.usage;
        else if (event.type === 'dropped') message.leftOut = event.messages;
        else if (event.type === 'finish') message.finishReason = event.reason;
        else {
          first ||= performance.now();
          this.phase = 'streaming';
          append(message, event.type, event.text, first);
          this.host.changed(this, false);
        }
      }
    } finally {
      if (first) message.stats = toStats(sent, first, performance.now(), usage);
    }
  }
}

function append(message: Message, type: 'content' | 'reasoning', text: string, first: number): void {
  if (type === 'reasoning') {
    message.reasoning = (message.reasoning ?? '') + text;
    return;
  }
  if (message.reasoning !== undefined) message.reasoningMs ??= performance.now() - first;
  // Templates often leave blank lines between the thoughts and the answer.
  message.content += message.content ? text : text.trimStart();
}

function toStats(sent: number, first: number, ended: number, usage: Usage): Message['stats'] {
  return {
    firstTokenMs: first - sent,
    generateMs: ended - first,
    promptTokens: usage.prompt_tokens,
    completionTokens: usage.completion_tokens,
    cachedTokens: usage.prompt_tokens_details?.cached_tokens,
  };
}
