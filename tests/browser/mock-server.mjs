// A scripted stand-in for Inkstone's server: serves the built page with the real content policy and streams known answers.
// The last user turn chooses the script; `calls` keeps every request body for the tests.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../../web/dist', import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
export const POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:";

const RICH = `## 哈希表 · Hash table

A **hash table** keeps pairs in an array of *buckets*. The bucket of a key is \`hash(key) % n\`, so a lookup does not walk the whole table. 用空间换时间 🪨🖌️

\`\`\`python
class HashTable:
    """A tiny hash table with chaining."""

    def __init__(self, size: int = 8) -> None:
        self.buckets = [[] for _ in range(size)]

    def put(self, key: str, value: int) -> None:
        bucket = self.buckets[hash(key) % len(self.buckets)]
        for i, (k, _) in enumerate(bucket):
            if k == key:
                bucket[i] = (key, value)  # replace
                return
        bucket.append((key, value))
\`\`\`

Three things to remember:

1. A good hash spreads keys evenly.
2. Collisions are normal; each bucket holds a short list.
3. When the table fills, it grows and everything is placed anew.

| Operation | Average | Worst |
|---|---:|---:|
| Look up | O(1) | O(n) |
| Insert | O(1) | O(n) |

> 工欲善其事，必先利其器。

More in [the reference](https://example.org/hash).
`;

const HOSTILE = `<script>window.pwned=1</script> <img src=x onerror="window.pwned=2"> <svg onload="window.pwned=3">

[click](javascript:window.pwned=4) [data](data:text/html,<script>window.pwned=5</script>) [vb](vbscript:msgbox)

![tracker](http://127.0.0.1:9/leak.png) ![inline](data:image/svg+xml,<svg onload=alert(1)>)

\`\`\`html"><img src=x onerror=window.pwned=6>
<img src=x onerror="window.pwned=7">
\`\`\`

<iframe src="javascript:window.pwned=8"></iframe> <a href="https://example.org" onclick="window.pwned=9">x</a>

[safe](https://example.org/safe) done-hostile
`;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function chunk(delta, finish = null) {
  return { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'mock-4b', choices: [{ index: 0, delta, finish_reason: finish }] };
}

// Pieces of a few UTF-16 units; a surrogate pair may be split on the wire by bytes, never in JSON.
function* pieces(text, size) {
  const characters = Array.from(text);
  for (let i = 0; i < characters.length; i += size) yield characters.slice(i, i + size).join('');
}

/** Writes in two halves, so that the page meets events and UTF-8 sequences cut in the middle. */
async function writeSplit(res, text) {
  const bytes = Buffer.from(text);
  const cut = Math.floor(bytes.length / 2);
  res.write(bytes.subarray(0, cut));
  await new Promise((resolve) => setImmediate(resolve));
  res.write(bytes.subarray(cut));
}

const SCRIPTS = [
  [/hostile/i, { text: HOSTILE, size: 7, pause: 1 }],
  [/forever/i, { text: 'ink '.repeat(5000), size: 4, pause: 10 }],
  [/think/i, { reasoning: 'First I consider *both* sides.\n\nThen I decide.', text: 'The answer is **42**.', size: 4, pause: 8 }],
  [/long/i, { text: RICH.repeat(60), size: 40, pause: 12 }],
  [/slow/i, { text: 'Slowly done.', size: 3, pause: 5, prefill: 2500 }],
  [/broken/i, { text: 'This breaks', size: 4, pause: 5, ending: 'error' }],
  [/cut off/i, { text: 'This is cut', size: 4, pause: 5, ending: 'close' }],
  [/length/i, { text: 'Too long to', size: 4, pause: 1, finish: 'length' }],
  [/hash/i, { text: RICH, size: 5, pause: 15 }],
  [/./, { text: RICH, size: 5, pause: 3 }],
];

async function stream(res, script, usage, context) {
  const send = (data) => writeSplit(res, `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\r\n\r\n`);
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  for (let waited = 0; waited < (script.prefill ?? 150); waited += 50) {
    res.write(': ping\n\n');
    await sleep(50);
  }
  await send({ ...chunk({ role: 'assistant', content: '' }), context });
  for (const piece of pieces(script.reasoning ?? '', script.size)) {
    await send(chunk({ reasoning_content: piece }));
    await sleep(script.pause);
  }
  for (const piece of pieces(script.text, script.size)) {
    if (res.destroyed) return;
    await send(chunk({ content: piece }));
    await sleep(script.pause);
  }
  if (script.ending === 'close') return void res.destroy();
  if (script.ending === 'error') {
    await send({ error: { message: 'The backend ran out of ink.', type: 'server_error', code: 'internal' } });
    return void res.end();
  }
  await send(chunk({}, script.finish ?? 'stop'));
  if (usage) await send({ ...chunk({}), choices: [], usage: { prompt_tokens: 321, completion_tokens: 412, total_tokens: 733, prompt_tokens_details: { cached_tokens: 64 } } });
  await send('[DONE]');
  res.end();
}

/** What the real server reports under `rounds=N`. */
function dropped({ messages, context_policy: policy }) {
  const starts = messages.flatMap(({ role }, i) => (role === 'user' ? [i] : []));
  const kept = policy.startsWith('rounds=') ? Number(policy.slice(7)) : Infinity;
  const count = starts.length > kept ? starts.at(-kept) - starts[0] : 0;
  return { policy, dropped_messages: count, dropped_tokens: 10 * count };
}

async function readBody(req) {
  const parts = [];
  for await (const part of req) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

function json(res, status, body) {
  res.writeHead(status, { 'Content-Type': 'application/json' });
  res.end(JSON.stringify(body));
}

async function serveFile(res, path) {
  const name = path === '/' ? '/index.html' : normalize(path);
  try {
    const body = await readFile(join(DIST, name));
    res.writeHead(200, { 'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream', 'Content-Security-Policy': POLICY, 'Cache-Control': 'no-cache' });
    res.end(body);
  } catch {
    json(res, 404, { error: { message: 'not found' } });
  }
}

/** Starts on a free loopback port. `down()` drops every connection and refuses new ones until `up()`. */
export async function startMock() {
  const calls = [];
  const paths = [];
  const state = { aborted: 0, failures: 0 };
  const server = http.createServer(async (req, res) => {
    const path = new URL(req.url, 'http://localhost').pathname;
    paths.push(path);
    if (path === '/props') {
      return json(res, 200, { model: 'mock-4b', context: 8192, architecture: 'qwen3', parameters: 4022468096, quantization: 'Q4_K_M', version: '0.1.0' });
    }
    if (path === '/v1/models') return json(res, 200, { object: 'list', data: [{ id: 'mock-4b', object: 'model' }] });
    if (path !== '/v1/chat/completions') return serveFile(res, path);
    const body = await readBody(req);
    calls.push(body);
    const question = body.messages.at(-1).content;
    if (/too much/i.test(question)) {
      return json(res, 400, { error: { message: 'The prompt has 9000 tokens; the context holds 8192.', type: 'invalid_request_error', code: 'context_length_exceeded', n_prompt_tokens: 9000, n_ctx: 8192 } });
    }
    if (/fail once/i.test(question) && state.failures++ === 0) return json(res, 500, { error: { message: 'Out of ink.', type: 'server_error' } });
    let ended = false;
    res.on('close', () => (state.aborted += ended ? 0 : 1));
    await stream(res, SCRIPTS.find(([pattern]) => pattern.test(question))[1], body.stream_options?.include_usage, dropped(body));
    ended = true;
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  const down = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  const up = () => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${port}/`, calls, paths, state, down, up };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log((await startMock()).url);
