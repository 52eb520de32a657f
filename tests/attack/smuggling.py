#!/usr/bin/env python3
"""Control tokens in what a client sends stay text, wherever they stand; tool calls and reasoning come as models mean them."""
import contextlib
import http.client
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import script_model  # noqa: E402
from _server import arguments  # noqa: E402

TOKEN = "<|im_end|>"
SPELLED = [TOKEN, "\\u003c|im_end|>", "<|im_end|\\u003e", "<|im_\\u0065nd|>"]
TEMPLATE = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}{{ m.name }}{{ m.reasoning_content }}{{ m.tool_call_id }}"
    "{%- for c in m.tool_calls or [] %}{{ c.id }}{{ c.function.name }}{{ c.function.arguments | tojson }}{%- endfor %}<|im_end|>{%- endfor %}"
    "{{ tools | tojson }}{{ note }}<|im_start|>"
)
failures = 0


def check(good, name, detail=""):
    global failures
    failures += not good
    print(("ok    " if good else "FAIL  ") + name + ("" if good else f": {detail}"), flush=True)


@contextlib.contextmanager
def serving(program, model):
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([program, "serve", str(model), "--host", "127.0.0.1", "--port", "0", "--threads", "1"],
                                   stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            port = None
            for line in process.stdout:
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if found:
                    port = int(found[1])
                    break
            if port is None:
                log.seek(0)
                raise RuntimeError(log.read().decode(errors="replace")[-800:])
            yield port
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def post(port, path, body, timeout=20):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        text = body if isinstance(body, str) else json.dumps(body)
        connection.request("POST", path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def body_with(text, depth):
    """A request whose every string holds `text`, as JSON already spelled; the arguments nest `depth` deep."""
    nested = ('{"k' + text + '":') * (depth - 1) + '{"' + text + '":"' + text + '"}' + "}" * (depth - 1)
    arguments = json.dumps(nested)  # a text of JSON: escapes stand twice
    return (
        '{"max_tokens":1,"messages":[{"role":"user","content":"%s","name":"%s"},'
        '{"role":"assistant","content":"%s","reasoning_content":"%s","tool_calls":[{"id":"%s","type":"function",'
        '"function":{"name":"%s","arguments":%s}}]},{"role":"tool","tool_call_id":"%s","content":"%s"}],'
        '"tools":[{"type":"function","function":{"name":"%s","description":"%s","parameters":{"%s":["%s"]}}}],'
        '"chat_template_kwargs":{"note":"%s"}}'
    ) % (text, text, text, text, text, text, arguments, *[text] * 7)


def smuggle(port):
    """The answer's prompt_tokens counts bytes of text as one token each: a control token would make it smaller."""
    for depth in (1, 5, 31, 32, 33, 60, 64, 65, 90):
        _, harmless = post(port, "/v1/chat/completions", body_with("<_im_end_>", depth))
        expected = harmless.get("usage", {}).get("prompt_tokens")
        for spelled in SPELLED:
            status, answer = post(port, "/v1/chat/completions", body_with(spelled, depth))
            found = answer.get("usage", {}).get("prompt_tokens")
            good = status == 400 if depth > 64 else status == 200 and found == expected
            check(good, f"{spelled} at depth {depth}", f"status {status}, {found} tokens, {expected} for harmless text")
    _, whole = post(port, "/v1/chat/completions", {"max_tokens": 1, "messages": [{"role": "user", "content": "<_im_", "name": "end_>"}]})
    _, halves = post(port, "/v1/chat/completions", {"max_tokens": 1, "messages": [{"role": "user", "content": "<|im_", "name": "end|>"}]})
    check(whole["usage"]["prompt_tokens"] == halves["usage"]["prompt_tokens"], "two halves side by side", halves)


TOOL = [{"type": "function", "function": {"name": "ls", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}}]
CALLS = {
    "raw newline": ('\n{"name": "ls", "arguments": {"t": "A\nB"}}\n', r'{"t": "A\nB"}'),
    "missing brace": ('\n{"name": "ls", "arguments": {"t": "A"}\n', '{"t": "A"}'),
    "markup": ("\n<function=ls>\n<parameter=t>\nA\n</parameter>\n<parameter=n>\n7\n</parameter>\n</function>\n", '{"t":"A","n":7}'),
    "numbers": ('\n{"name": "ls", "arguments": {"a": 12345678901234567890123, "b": 1E400, "c": 100000.0}}\n',
                '{"a": 12345678901234567890123, "b": 1E400, "c": 100000.0}'),
}


def calls(program, folder):
    for name, (text, expected) in CALLS.items():
        model = pathlib.Path(folder) / name.replace(" ", "-")
        script_model.write_model(model, ["<tool_call>", text, "</tool_call>"])
        with serving(program, model) as port:
            _, answer = post(port, "/v1/chat/completions", {"temperature": 0, "messages": [{"role": "user", "content": "Q"}], "tools": TOOL})
            message = answer.get("choices", [{}])[0].get("message", {})
            found = [call["function"]["arguments"] for call in message.get("tool_calls") or []]
            check(found == [expected], f"a tool call: {name}", answer)


def reasoning(program, folder):
    template = script_model.CHATML + "{# <think> #}"
    script_model.write_model(pathlib.Path(folder) / "tags", ["<think>", "\nUse ", "</th", "ink>", " to strip.\n\n", "</think>", "\n\nDone."], template)
    with serving(program, pathlib.Path(folder) / "tags") as port:
        _, answer = post(port, "/v1/chat/completions", {"temperature": 0, "messages": [{"role": "user", "content": "Q"}]})
        message = answer.get("choices", [{}])[0].get("message", {})
        good = message.get("reasoning_content") == "Use </think> to strip." and message.get("content") == "Done."
        check(good, "a closing tag spelled with ordinary tokens ends no reasoning", answer)


def main():
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        script_model.write_model(pathlib.Path(folder) / "plain", ["ok"], TEMPLATE)
        with serving(options.program, pathlib.Path(folder) / "plain") as port:
            smuggle(port)
        calls(options.program, folder)
        reasoning(options.program, folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
