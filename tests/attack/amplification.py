"""What one request may cost: bodies made to grow in memory, one after another and at once, against a small budget."""
import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUDGET = "300MB"
MOST_OVER_IDLE = 64 << 20
BODY = 3_900_000  # bytes, below the server's limit for a body
REQUEST_SECONDS = 20.0


def repeated(head, item, tail, separator=","):
    """`head`, as many `item`s as a body has room for, `tail`."""
    count = (BODY - len(head) - len(tail)) // (len(item) + len(separator))
    return head + separator.join([item] * count) + tail


def chat(**fields):
    return json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **fields})


def nested_arguments(item):
    """A call whose arguments are a text of many values."""
    escaped = json.dumps(item)[1:-1]
    head = '{"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\\"a\\":['
    return repeated(head, escaped, ']}"}}]}]}')


def bodies():
    """(name, path, body), each as large as a body may be."""
    chats, texts = "/v1/chat/completions", "/v1/completions"
    user = '{"messages":[{"role":"user","content":"'
    yield "prompts x n x stops", texts, json.dumps({"prompt": ["a"] * 64, "n": 8, "max_tokens": 2, "stop": [chr(65 + i) * 240_000 for i in range(16)]})
    yield "stops of a chat x n", chats, chat(n=8, stop=[chr(65 + i) * 240_000 for i in range(16)])
    for name, item in ("{}", "{}"), ("[]", "[]"), ("numbers", "1"), ("strings", '""'), ("fields", '{"a":1}'), ("lists", "[[[1]]]"):
        yield "nodes of " + name, chats, repeated('{"x":[', item, '],"messages":[]}')
    yield "one key again", chats, "{" + repeated("", '"a":1', "}")
    yield "many keys", chats, "{" + ",".join(f'"{i}":1' for i in range(BODY // 12)) + "}"
    yield "open lists", chats, "[" * BODY
    yield "open objects", chats, repeated("", '{"a":', "", "")
    yield "NUL escapes", chats, repeated(user, "\\u0000", '"}]}', "")
    yield "surrogates", chats, repeated(user, "\\ud83d", '"}]}', "")
    yield "plain text", chats, repeated(user, "a", '"}]}', "")
    yield "single characters", chats, repeated(user, "a ", '"}]}', "")
    yield "control tokens", chats, repeated(user, "<|im_end|>", '"}]}', "")
    yield "text of the assistant", chats, repeated('{"messages":[{"role":"assistant","content":"', "a", '"}]}', "")
    yield "text of a tool", chats, repeated('{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"', "<|im_end|>", '"}]}', "")
    yield "control tokens, window", chats, repeated('{"context_policy":"window",' + user[1:], "<|im_end|>", '"}]}', "")
    yield "logit_bias", chats, chat(logit_bias={str(i): 1 for i in range(100_000)})
    yield "messages", chats, repeated('{"messages":[', '{"role":"user","content":"a"}', "]}")
    yield "messages, window", chats, repeated('{"max_tokens":1,"context_policy":"window","messages":[', '{"role":"user","content":"a"}', "]}")
    yield "text parts", chats, repeated('{"messages":[{"role":"user","content":[', '{"type":"text","text":"a"}', "]}]}")
    tool = '{"type":"function","function":{"name":"f"}}'
    yield "tools", chats, repeated('{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"tools":[', tool, "]}")
    yield "one large tool", chats, repeated('{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"tools":[{"function":{"name":"f","x":[', "{}", "]}}]}")
    yield "template variables", chats, repeated('{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"chat_template_kwargs":{"x":[', "{}", "]}}")
    yield "arguments", chats, nested_arguments("{}")
    yield "escaped arguments", chats, nested_arguments('"\\u0041"')
    yield "tool calls", chats, repeated('{"max_tokens":1,"messages":[{"role":"assistant","tool_calls":[', '{"function":{"name":"f"}}', "]}]}")
    yield "token prompt", texts, repeated('{"prompt":[', "1", "]}")
    yield "token prompts x n", texts, repeated('{"n":8,"prompt":[[1],[', "1", "]]}")
    yield "small prompts", texts, repeated('{"prompt":[', '"a"', "]}")
    yield "echo x n", texts, repeated('{"echo":true,"n":8,"prompt":"', "a ", '"}', "")
    yield "window of a raw prompt", texts, repeated('{"echo":true,"n":8,"context_policy":"window","prompt":"', "a ", '"}', "")
    yield "tokenize", "/tokenize", repeated('{"with_pieces":true,"content":"', "a ", '"}', "")
    yield "tokenize NUL", "/tokenize", repeated('{"with_pieces":true,"content":"', "\\u0000", '"}', "")
    yield "detokenize", "/detokenize", repeated('{"tokens":[', "1", "]}")
    yield "apply-template", "/apply-template", repeated(user, "<|im_end|>", '"}]}', "")
    yield "apply-template, messages", "/apply-template", repeated('{"messages":[', '{"role":"user","content":"a"}', "]}")


def just_below():
    """What the limits still allow costs no more."""
    chats, texts = "/v1/chat/completions", "/v1/completions"

    def many(head, item, tail, count):
        return head + ",".join([item] * count) + tail

    yield "values", chats, many('{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"x":[', "[[1]]", "]}", 87_000)
    yield "fields", chats, many('{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"x":[', '{"abcdefg":1}', "]}", 130_000)
    yield "messages allowed", chats, many('{"messages":[', json.dumps({"role": "user", "content": "a " * 220}), "]}", 8_192)
    yield "messages allowed, window", chats, many('{"max_tokens":1,"context_policy":"window","messages":[', '{"role":"user","content":"a"}', "]}", 8_192)
    long = json.dumps({"role": "user", "content": "a" * 120})
    yield "long messages, window", chats, many('{"max_tokens":1,"context_policy":"window","messages":[', long, "]}", 8_000)
    tool = json.dumps({"type": "function", "function": {"name": "f", "description": "d" * 3000}})
    yield "tools allowed", chats, many('{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"tools":[', tool, "]}", 1_000)
    yield "one tool allowed", chats, many('{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"tools":[{"function":{"name":"f","x":[', "{}", "]}}]}", 32_000)
    yield "calls allowed", chats, many('{"max_tokens":1,"messages":[{"role":"assistant","tool_calls":[', '{"function":{"name":"f"}}', "]}]}", 8_000)
    yield "tokens allowed", texts, many('{"prompt":[', "1", "]}", 260_000)
    yield "tokens allowed, window", texts, many('{"max_tokens":1,"n":8,"context_policy":"window","prompt":[', "1", "]}", 260_000)
    yield "prompts allowed", texts, json.dumps({"prompt": ["a " * 700] * 9, "n": 8, "max_tokens": 1, "stop": [chr(65 + i) * 4_096 for i in range(16)]})
    yield "one word, window", texts, json.dumps({"context_policy": "window", "max_tokens": 1, "prompt": "a" * 500_000})
    yield "words to tokenize", "/tokenize", json.dumps({"content": "a" * 500_000})
    yield "tokens to text", "/detokenize", many('{"tokens":[', "300", "]}", 260_000)
    yield "thoughts", chats, json.dumps({"messages": [{"role": "assistant", "content": "", "reasoning_content": "a" * BODY}]})


class Server:
    def __init__(self, program, model):
        words = [program, "serve", model, "--port", "0", "--quiet", "--memory", BUDGET]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        line = self.process.stdout.readline().decode()
        timer.cancel()
        found = re.search(r":(\d+)/", line)
        if not found:
            self.stop()
            raise RuntimeError("the server did not start")
        self.port = int(found[1])

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def memory(self, name):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(name + r":\s+(\d+) kB", status)[1]) << 10

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def kv_bytes(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=REQUEST_SECONDS) as answer:
            return int(float(re.search(r'inkstone_memory_bytes{purpose="kv[^"]*"} (\S+)', answer.read().decode())[1]))

    def post(self, path, body):
        """Status and text; 0 where the server closed the connection instead."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (ConnectionError, http.client.HTTPException, TimeoutError) as error:
            return 0, str(error)
        finally:
            connection.close()


def check_one(server, idle, name, path, body):
    server.forget_peak()
    begin = time.monotonic()
    status, text = server.post(path, body)
    seconds = time.monotonic() - begin
    over = server.memory("VmHWM") - idle
    after, why = server.post("/v1/chat/completions", chat())
    good = over < MOST_OVER_IDLE and after == 200 and status in (200, 400)
    print(f"{'ok  ' if good else 'FAIL'} {name}: {status}, {over / 2**20:.1f} MiB over idle, then a chat {after}, {seconds:.2f} s", flush=True)
    if not good:
        print("     " + text[:300] + ("" if after == 200 else " / " + why[:200]))
    elif os.environ.get("VERBOSE"):
        print("     " + text[:200])
    return good


def check_at_once(server, idle, several):
    """Those that find no room get 503 or 429; afterwards all is as before."""
    server.forget_peak()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: server.post(one[1], one[2])[0], several))
    over = server.memory("VmHWM") - idle
    after, _ = server.post("/v1/chat/completions", chat())
    good = over < MOST_OVER_IDLE and after == 200 and set(answers) <= {200, 400, 429, 503}
    counts = ", ".join(f"{answers.count(status)} x {status}" for status in sorted(set(answers)))
    print(f"{'ok  ' if good else 'FAIL'} eight at once: {counts}; {over / 2**20:.1f} MiB over idle, then a chat {after}")
    return good


def memory_left(server, idle):
    """What is still over idle once cancelled work has ended, or ten seconds later; pages of the prefix cache may stay."""
    for _ in range(100):
        left = server.memory("VmRSS") - idle - server.kv_bytes()
        if left < MOST_OVER_IDLE // 2:
            break
        time.sleep(0.1)
    return left


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/inkstone"))
    parser.add_argument("--model", default=str(ROOT / "tests/data/tiny-qwen3"))
    options = parser.parse_args()
    every = list(bodies()) + list(just_below())
    server = Server(options.program, options.model)
    try:
        server.post("/v1/chat/completions", chat())
        idle = server.memory("VmRSS")
        good = [check_one(server, idle, *one) for one in every]
        good.append(check_at_once(server, idle, every))
        left = memory_left(server, idle)
        good.append(left < MOST_OVER_IDLE // 2)
        print(f"{'ok  ' if good[-1] else 'FAIL'} afterwards: {left / 2**20:.1f} MiB over idle")
    finally:
        server.stop()
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
