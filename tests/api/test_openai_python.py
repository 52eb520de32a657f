"""The real OpenAI client of Python against a running server.

INKSTONE_URL=http://127.0.0.1:8080 python -m unittest test_openai_python -v
Any model will do. With INKSTONE_FAKE=1 the server is fake_server and the texts are checked too.
"""

import os
import unittest

import openai

URL = os.environ["INKSTONE_URL"]
FAKE = os.environ.get("INKSTONE_FAKE") == "1"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(text):
    return [{"role": "user", "content": text}]


class OpenAiPython(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=URL + "/v1", api_key="none", timeout=60, max_retries=0)
        self.addCleanup(self.client.close)
        self.model = self.client.models.list().data[0].id

    def chat(self, text="Say hello.", **options):
        options.setdefault("max_tokens", 8)
        return self.client.chat.completions.create(model=self.model, messages=ask(text), **options)

    def test_models(self):
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("no-such-model")

    def test_chat(self):
        answer = self.chat()
        choice = answer.choices[0]
        self.assertEqual(choice.message.role, "assistant")
        self.assertIn(choice.finish_reason, ("stop", "length"))
        self.assertGreater(answer.usage.prompt_tokens, 0)
        self.assertLessEqual(answer.usage.completion_tokens, 8)
        self.assertGreaterEqual(answer.usage.prompt_tokens_details.cached_tokens, 0)
        if FAKE:
            self.assertEqual(choice.message.content, "Hello, world!")

    def test_stream_equals_whole(self):
        options = {"temperature": 0, "seed": 1, "max_tokens": 12}
        whole = self.chat(**options)
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}, **options))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(chunks[-2].choices[0].finish_reason, whole.choices[0].finish_reason)

    def test_cancelled_stream_frees_the_server(self):
        stream = self.chat("Count slowly to a thousand.", stream=True, max_tokens=500)
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        stream.close()
        self.assertEqual(self.chat().choices[0].message.role, "assistant")

    def test_choices_and_logprobs(self):
        answer = self.chat(n=2, seed=5, logprobs=True, top_logprobs=3)
        self.assertEqual([c.index for c in answer.choices], [0, 1])
        for choice in answer.choices:
            self.assertGreater(len(choice.logprobs.content), 0)
            for token in choice.logprobs.content:
                self.assertLessEqual(token.logprob, 0)
                self.assertEqual(len(token.top_logprobs), 3)
                self.assertIsInstance(token.bytes, list)

    def test_completion(self):
        answer = self.client.completions.create(model=self.model, prompt=["One", "Two"], max_tokens=4, echo=True)
        self.assertEqual(len(answer.choices), 2)
        self.assertTrue(answer.choices[1].text.startswith("Two"))
        chunks = list(self.client.completions.create(model=self.model, prompt="One", max_tokens=4, stream=True, logprobs=2))
        self.assertIn(chunks[-1].choices[0].finish_reason, ("stop", "length"))
        offsets = [o for c in chunks if c.choices[0].logprobs for o in c.choices[0].logprobs.text_offset]
        self.assertEqual(offsets, sorted(offsets))

    def test_tools(self):
        messages = ask("What is the weather in Berlin?")
        stream = self.client.chat.completions.create(
            model=self.model, messages=messages, tools=[TOOL], stream=True, max_tokens=64)
        name, arguments, finish = "", "", None
        for chunk in stream:
            for call in chunk.choices[0].delta.tool_calls or []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
            finish = chunk.choices[0].finish_reason or finish
        if FAKE:
            self.assertEqual((name, arguments, finish), ("get_weather", '{"city":"Berlin"}', "tool_calls"))
        call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Berlin"}'}}
        messages += [{"role": "assistant", "content": None, "tool_calls": [call]},
                     {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
        answer = self.client.chat.completions.create(model=self.model, messages=messages, tools=[TOOL], max_tokens=8)
        self.assertIsNotNone(answer.choices[0].finish_reason)
        if FAKE:
            self.assertEqual(answer.choices[0].message.content, "It is sunny.")

    def test_reasoning(self):
        answer = self.chat("Please think first.", max_tokens=16)
        if FAKE:
            self.assertEqual(answer.choices[0].message.reasoning_content, "let me see")
            self.assertEqual(answer.choices[0].message.content, "done")

    def test_context_policy(self):
        messages = [{"role": "system", "content": "Be brief."}]
        for i in range(3):
            messages += ask(f"Question {i}?") + [{"role": "assistant", "content": "Yes."}]
        messages += ask("And now?")
        extra = {"context_policy": "rounds=2", "priority": 5, "timeout": 60}
        raw = self.client.chat.completions.with_raw_response.create(
            model=self.model, messages=messages, max_tokens=4, user="ada", extra_body=extra)
        context = raw.parse().model_extra["context"]
        self.assertEqual((context["policy"], context["dropped_messages"]), ("rounds=2", 4))
        self.assertEqual(raw.headers["x-inkstone-context-dropped"], f"messages=4; tokens={context['dropped_tokens']}")
        last = None
        for last in self.client.chat.completions.create(
                model=self.model, messages=messages, max_tokens=4, stream=True, stream_options={"include_usage": True},
                extra_body=extra):
            pass
        self.assertEqual(last.model_extra["context"], context)

    @unittest.skipIf(FAKE, "the scripted engine keeps no deadlines")
    def test_a_deadline_ends_the_request(self):
        with self.assertRaises(openai.InternalServerError) as raised:
            self.chat("Count slowly to a thousand.", max_tokens=500, extra_body={"timeout": 0.02})
        self.assertEqual(raised.exception.status_code, 504)
        self.assertEqual((raised.exception.type, raised.exception.code), ("timeout", "deadline_exceeded"))

    def test_errors(self):
        with self.assertRaises(openai.BadRequestError) as raised:
            self.chat(temperature=-1)
        self.assertEqual(raised.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError) as raised:
            self.chat("word " * 400_000)
        self.assertEqual(raised.exception.code, "context_length_exceeded")
        self.assertIn("maximum context length", raised.exception.message)
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(model=self.model, messages=[])


if __name__ == "__main__":
    unittest.main()
