import { afterEach, describe, expect, it, vi } from 'vitest';
import { ApiError, fetchProps, readChunk, streamChat, type ChatEvent } from './api';

const chunk = (delta: object, finish: string | null = null) => JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] });

function answer(parts: string[], init?: ResponseInit): void {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
      controller.close();
    },
  });
  vi.stubGlobal('fetch', vi.fn(async () => new Response(body, init)));
}

async function collect(): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  const request = { model: 'm', messages: [{ role: 'user' as const, content: 'hi' }] };
  for await (const event of streamChat(request, 'key', new AbortController().signal)) events.push(event);
  return events;
}

afterEach(() => vi.unstubAllGlobals());

describe('readChunk', () => {
  it('takes reasoning under both names, once', () => {
    expect(readChunk(chunk({ reasoning: 'a' }))).toEqual([{ type: 'reasoning', text: 'a' }]);
    expect(readChunk(chunk({ reasoning: 'a', reasoning_content: 'a' }))).toEqual([{ type: 'reasoning', text: 'a' }]);
  });
  it('gives nothing for the role delta, a null content and damaged JSON', () => {
    for (const payload of [chunk({ role: 'assistant', content: '' }), chunk({ content: null }), '{"choices":[', '7', '[]']) {
      expect(readChunk(payload)).toEqual([]);
    }
  });
  it('tells what the server left out, and nothing where that is nothing', () => {
    const context = (dropped: number) => JSON.stringify({ choices: [], context: { policy: 'rounds=5', dropped_messages: dropped, dropped_tokens: 9 } });
    expect(readChunk(context(4))).toEqual([{ type: 'dropped', messages: 4 }]);
    expect(readChunk(context(0))).toEqual([]);
  });
  it('throws an error that arrives in mid-stream', () => {
    expect(() => readChunk('{"error":{"message":"no ink","code":"internal"}}')).toThrow(new ApiError('no ink', 'internal'));
  });
});

describe('streamChat', () => {
  it('yields deltas, finish and usage, and sends what the wire asks for', async () => {
    answer([
      ': ping\n\n',
      `data: ${chunk({ role: 'assistant', content: '' })}\n\ndata: ${chunk({ content: 'Hi' })}\n`,
      `\ndata: ${chunk({}, 'stop')}\n\ndata: {"choices":[],"usage":{"completion_tokens":2}}\n\ndata: [DONE]\n\n`,
    ]);
    expect(await collect()).toEqual([
      { type: 'content', text: 'Hi' },
      { type: 'finish', reason: 'stop' },
      { type: 'usage', usage: { completion_tokens: 2 } },
    ]);
    const init = vi.mocked(fetch).mock.calls[0]?.[1];
    expect(JSON.parse(String(init?.body))).toMatchObject({ model: 'm', stream: true, stream_options: { include_usage: true } });
    expect(init?.headers).toMatchObject({ Authorization: 'Bearer key' });
  });
  it('reports an answer that ends without a finish reason', async () => {
    answer([`data: ${chunk({ content: 'Hi' })}\n\n`]);
    await expect(collect()).rejects.toMatchObject({ code: 'incomplete' });
  });
  it('reports the server’s words and code, or the status where the body is not JSON', async () => {
    answer(['{"error":{"message":"too long","code":"context_length_exceeded"}}'], { status: 400 });
    await expect(collect()).rejects.toMatchObject({ message: 'too long', code: 'context_length_exceeded', status: 400 });
    answer(['<html>'], { status: 502, statusText: 'Bad Gateway' });
    await expect(collect()).rejects.toMatchObject({ message: '502 Bad Gateway', status: 502 });
  });
  it('calls a failed connection by its name', async () => {
    vi.stubGlobal('fetch', vi.fn(async () => Promise.reject(new TypeError('Failed to fetch'))));
    await expect(collect()).rejects.toMatchObject({ code: 'network' });
  });
});

describe('fetchProps', () => {
  it('falls back to the model list only where /props does not exist', async () => {
    const reply = (path: string) => (path.endsWith('/props') ? new Response('{}', { status: 404 }) : new Response('{"data":[{"id":"m1"}]}'));
    vi.stubGlobal('fetch', vi.fn(async (path: string) => reply(path)));
    expect(await fetchProps('')).toEqual({ model: 'm1' });
    vi.stubGlobal('fetch', vi.fn(async () => new Response('{"error":{"message":"loading"}}', { status: 503 })));
    await expect(fetchProps('')).rejects.toMatchObject({ status: 503 });
  });
});
