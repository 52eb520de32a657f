// The real OpenAI client of Node against a running server: INKSTONE_URL=http://127.0.0.1:8080 node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const fake = process.env.INKSTONE_FAKE === "1";
const client = new OpenAI({
  baseURL: `${process.env.INKSTONE_URL}/v1`,
  apiKey: "none",
  timeout: 60_000,
  maxRetries: 0,
});
const model = (await client.models.list()).data[0].id;
const ask = (content) => [{ role: "user", content }];
const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object", properties: {} } } }];

test("streams a chat as the helper expects it", async () => {
  const stream = client.chat.completions.stream({
    model,
    messages: ask("Say hello."),
    max_tokens: 8,
    stream_options: { include_usage: true },
  });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content ?? "", text);
  assert.ok(final.usage.completion_tokens <= 8);
  if (fake) assert.equal(text, "Hello, world!");
});

test("streams a completion", async () => {
  const stream = await client.completions.create({ model, prompt: "One", max_tokens: 4, stream: true });
  let last;
  for await (const chunk of stream) last = chunk;
  assert.ok(["stop", "length"].includes(last.choices[0].finish_reason));
});

test("a cancelled stream frees the server", async () => {
  const stream = await client.chat.completions.create({
    model,
    messages: ask("Count slowly to a thousand."),
    max_tokens: 500,
    stream: true,
  });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content) break;
  }
  stream.controller.abort();
  const next = await client.chat.completions.create({ model, messages: ask("Hi"), max_tokens: 2 });
  assert.equal(next.choices[0].message.role, "assistant");
});

test("streams tool calls", async () => {
  const stream = client.chat.completions.stream({ model, messages: ask("What is the weather?"), tools, max_tokens: 64 });
  const final = await stream.finalChatCompletion();
  if (fake) {
    assert.equal(final.choices[0].finish_reason, "tool_calls");
    const call = final.choices[0].message.tool_calls[0];
    assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], ["get_weather", { city: "Berlin" }]);
  }
});

test("gives several choices with log-probabilities", async () => {
  const answer = await client.chat.completions.create({
    model,
    messages: ask("Hi"),
    n: 2,
    logprobs: true,
    top_logprobs: 2,
    max_tokens: 2,
  });
  assert.deepEqual(answer.choices.map((c) => c.index), [0, 1]);
  assert.ok(answer.choices.every((c) => c.logprobs.content.every((t) => t.top_logprobs.length === 2)));
});

test("reports errors with their field", async () => {
  const bad = client.chat.completions.create({ model, messages: ask("Hi"), top_p: 7 });
  await assert.rejects(bad, (error) => error.status === 400 && error.param === "top_p");
  const long = client.chat.completions.create({ model, messages: ask("word ".repeat(400_000)) });
  await assert.rejects(long, (error) => error.code === "context_length_exceeded");
});
