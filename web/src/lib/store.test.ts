import 'fake-indexeddb/auto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConversationDb } from './db';
import { groupByAge } from './groups';
import { preferredLocale } from './i18n';
import { ServerStatus } from './server.svelte';
import { parseSettings, settings } from './settings.svelte';
import { ChatStore, titleOf } from './store.svelte';

let name = 0;
let db: ConversationDb;
let store: ChatStore;
let requests: { messages: { role: string; content: string }[]; [key: string]: unknown }[];

/** Answers every question with `echo N`, or as `reply` says. */
function serve(reply?: (signal: AbortSignal) => Promise<Response>): void {
  vi.stubGlobal('fetch', async (_url: string, init: RequestInit) => {
    requests.push(JSON.parse(String(init.body)));
    if (reply) return reply(init.signal as AbortSignal);
    const delta = (value: object, finish: string | null) => `data: ${JSON.stringify({ choices: [{ delta: value, finish_reason: finish }] })}\n\n`;
    return new Response(delta({ reasoning: 'hm' }, null) + delta({ content: `\n\necho ${requests.length}` }, null) + delta({}, 'stop') + 'data: [DONE]\n\n');
  });
}

beforeEach(() => {
  db = new ConversationDb(`test-${name++}`);
  store = new ChatStore(db, new ServerStatus());
  requests = [];
  serve();
});
afterEach(() => {
  vi.unstubAllGlobals();
  Object.assign(settings.values, parseSettings(null, ['en']));
});

describe('ChatStore', () => {
  it('sends the whole history and leaves reasoning out', async () => {
    settings.values.systemPrompt = ' Be brief. ';
    settings.values.temperature = 0;
    await store.ask(' one ');
    await store.ask('two');
    expect(requests[1]?.messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'one' },
      { role: 'assistant', content: 'echo 1' },
      { role: 'user', content: 'two' },
    ]);
    expect(requests[1]).toMatchObject({ temperature: 0 });
    expect(requests[1]).not.toHaveProperty('top_p');
    expect(store.current?.messages[1]).toMatchObject({ reasoning: 'hm', finishReason: 'stop' });
  });

  it('sends five rounds, as many as chosen, or as many as fit, and keeps what was left out', async () => {
    serve(async () => {
      const chunk = { choices: [{ delta: { content: 'x' }, finish_reason: 'stop' }], context: { policy: 'rounds=5', dropped_messages: 4, dropped_tokens: 99 } };
      return new Response(`data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`);
    });
    for (const rounds of [5, 2, null]) {
      if (rounds !== 5) settings.values.rounds = rounds;
      await store.ask('one');
    }
    expect(requests.map((request) => request.context_policy)).toEqual(['rounds=5', 'rounds=2', 'window']);
    expect(requests[2]?.messages).toHaveLength(5);
    expect(store.current?.messages[1]?.leftOut).toBe(4);
  });

  it('finds conversations again after a reload', async () => {
    await store.ask('one');
    const again = new ChatStore(db, new ServerStatus());
    await again.load();
    await again.open(again.list[0]?.id ?? '');
    expect(again.current?.messages.map((message) => message.content)).toEqual(['one', 'echo 1']);
  });

  it('edits a turn by dropping what followed, and regenerates the last answer', async () => {
    await store.ask('one');
    await store.ask('two');
    await store.current?.edit(store.current.messages[0]?.id ?? '', 'uno');
    expect(store.current?.messages.map((message) => message.content)).toEqual(['uno', 'echo 3']);
    await store.current?.regenerate();
    expect(store.current?.messages.map((message) => message.content)).toEqual(['uno', 'echo 4']);
  });

  it('renames, deletes and restores', async () => {
    await store.ask('one');
    const id = store.list[0]?.id ?? '';
    await store.rename(id, ' Ink ');
    await store.rename(id, '  ');
    expect((await db.list())[0]?.title).toBe('Ink');
    await store.remove(id);
    expect(await db.list()).toEqual([]);
    expect(store.current).toBeNull();
    await store.restore();
    expect((await db.list())[0]?.title).toBe('Ink');
    expect((await db.messages(id)).map((message) => message.content)).toEqual(['one', 'echo 1']);
  });

  it('keeps a failed answer as an error and does not send it', async () => {
    serve(async () => new Response('{"error":{"message":"no ink"}}', { status: 500 }));
    await store.ask('one');
    expect(store.current?.messages[1]).toMatchObject({ content: '', error: { message: 'no ink' } });
    serve();
    await store.current?.regenerate();
    expect(requests[1]?.messages).toEqual([{ role: 'user', content: 'one' }]);
    expect(store.current?.messages).toHaveLength(2);
  });

  it('stops, and does not call that an error', async () => {
    serve((signal) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))));
    const asked = store.ask('one');
    expect(store.current?.phase).toBe('waiting');
    store.current?.stop();
    await asked;
    expect(store.current?.phase).toBe('idle');
    expect(store.current?.messages[1]).toMatchObject({ stopped: true });
    expect(store.current?.messages[1]?.error).toBeUndefined();
  });

  it('works on without storage and says so', async () => {
    vi.spyOn(db, 'save').mockRejectedValue(new Error('denied'));
    await store.ask('one');
    expect(store.storageFailed).toBe(true);
    expect(store.current?.messages[1]?.content).toBe('echo 1');
  });
});

describe('small parts', () => {
  it('names a conversation by whole characters', () => {
    expect(titleOf('  first\nsecond')).toBe('first');
    expect(titleOf('🪨'.repeat(60))).toBe('🪨'.repeat(48) + '…');
  });
  it('ignores damaged or out-of-range settings', () => {
    expect(parseSettings('{"temperature":9,"topP":0.5,"seed":"x","locale":"fr"}', ['zh-TW'])).toMatchObject({ temperature: null, topP: 0.5, seed: null, locale: 'zh' });
    expect(parseSettings('{{', ['de', 'en-GB']).locale).toBe('en');
    expect(parseSettings('null', []).sidebarOpen).toBe(true);
    expect(['{}', '{"rounds":null}', '{"rounds":7}', '{"rounds":0}'].map((stored) => parseSettings(stored, []).rounds)).toEqual([5, null, 7, 5]);
  });
  it('follows the first language it knows', () => {
    expect(preferredLocale(['fr', 'zh-Hans-CN', 'en'])).toBe('zh');
    expect(preferredLocale(['fr'])).toBe('en');
  });
  it('groups by calendar day', () => {
    const now = new Date(2026, 4, 10, 9).getTime();
    const at = (day: number, hour: number) => ({ id: `${day}-${hour}`, title: '', createdAt: 0, updatedAt: new Date(2026, 4, day, hour).getTime() });
    const groups = groupByAge([at(10, 0), at(9, 23), at(9, 0), at(3, 0), at(2, 23)], now);
    expect(groups.map((group) => [group.age, group.items.length])).toEqual([['today', 1], ['yesterday', 2], ['week', 1], ['older', 1]]);
  });
});
