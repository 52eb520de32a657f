#!/usr/bin/env python3
"""A conversation in the terminal, over the openai package: chat.py [http://127.0.0.1:8080]. An empty line ends it."""
import sys

import openai

server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
client = openai.OpenAI(base_url=f"{server}/v1", api_key="none")
model = client.models.list().data[0].id
messages = [{"role": "system", "content": "Answer in two sentences at most."}]
while question := input("> ").strip():
    messages.append({"role": "user", "content": question})
    answer = ""
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
        if chunk.choices:
            text = chunk.choices[0].delta.content or ""
            answer += text
            print(text, end="", flush=True)
    print()
    messages.append({"role": "assistant", "content": answer})
