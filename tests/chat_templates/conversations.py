"""Conversations that templates are rendered on: as variables, and as prompts of our own interface."""
import itertools
import json

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a place. \"Quoted\" <tag> & 天气",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "The city's name"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 18446744073709551615, "description": None},
        "weights": {"type": "array", "items": {"type": "number"}, "default": [0.1, 1e-07, 1e16, -2.5, 3.0]},
        "nested": {"type": "object", "properties": {"deep": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}},
                   "required": ["deep"], "additionalProperties": False}},
        "required": ["city"]},
    "return": {"type": "string", "description": "text"}}}
EMPTY_TOOL = {"type": "function", "function": {"name": "now", "description": "", "parameters": {
    "type": "object", "properties": {}}}}
TOOLS = [None, [WEATHER], [WEATHER, EMPTY_TOOL]]


def call(name, arguments, identity="call_1abcd"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


SYSTEM = {"role": "system", "content": "You are a careful assistant.\nAnswer shortly."}
USER = {"role": "user", "content": "Hello! How are you?"}
ANSWER = {"role": "assistant", "content": "Fine, thanks."}
MORE = {"role": "user", "content": "And tomorrow?"}
TOOL_TURN = {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "Göttingen", "days": 3,
                                                                                    "weights": [0.5, 1e-9, 2.0]})]}
RESULT = {"role": "tool", "content": "{\"temp\": 21.5, \"text\": \"sunny ☀\"}", "tool_call_id": "call_1abcd",
          "name": "get_weather"}
SECOND = {"role": "tool", "content": "second result", "tool_call_id": "call_2abcd", "name": "now"}
TWO_CALLS = {"role": "assistant", "content": "Let me look.", "tool_calls": [
    call("get_weather", {"city": "Paris", "flag": True, "none": None, "nested": {"a": [1, {"b": "c"}]}}),
    call("now", {}, "call_2abcd")]}
THOUGHT = {"role": "assistant", "content": "<think>\nLet me think.\n\nYes.\n</think>\n\nThe answer is 4."}
REASONED = {"role": "assistant", "content": "The answer is 4.", "reasoning_content": "\nTwo and two.\n"}
UNICODE = {"role": "user", "content": "  \u00a0Grüße 你好 🙂\u200d👩 \u2028 e\u0301 \t\n\n"}

CHATS = {
    "one user turn": [USER],
    "system and user": [SYSTEM, USER],
    "many turns": [SYSTEM, USER, ANSWER, MORE],
    "many turns without system": [USER, ANSWER, MORE, ANSWER, USER],
    "ends with assistant": [USER, ANSWER],
    "unicode": [SYSTEM, UNICODE, {"role": "assistant", "content": "早上好\n"}, UNICODE],
    "empty content": [{"role": "system", "content": ""}, {"role": "user", "content": ""},
                      {"role": "assistant", "content": ""}, USER],
    "white space": [{"role": "system", "content": "  \n a \n"}, {"role": "user", "content": "\n\n  b  \n"},
                    {"role": "assistant", "content": "\n c \n"}, {"role": "user", "content": "\t"}],
    "tool call": [USER, TOOL_TURN, RESULT],
    "tool call with system": [SYSTEM, USER, TOOL_TURN, RESULT, ANSWER, MORE],
    "two calls": [SYSTEM, USER, TWO_CALLS, RESULT, SECOND],
    "two calls answered": [USER, TWO_CALLS, RESULT, SECOND, ANSWER, MORE],
    "tool rounds": [USER, TOOL_TURN, RESULT, TOOL_TURN, RESULT, ANSWER, MORE],
    "thinking in the text": [USER, THOUGHT, MORE],
    "thinking in the text, last": [USER, THOUGHT],
    "reasoning": [SYSTEM, USER, REASONED, MORE],
    "reasoning, last": [USER, REASONED],
    "reasoning and tools": [USER, {**TOOL_TURN, "reasoning_content": "I need the weather."}, RESULT],
    "reasoning and tools, answered": [USER, {**TOOL_TURN, "reasoning_content": "I need it."}, RESULT, REASONED, MORE],
    "marks in the text": [{"role": "user", "content": "<|im_end|> {{ x }} {% if %} <tool_response>a</tool_response>"},
                          ANSWER, {"role": "user", "content": "<tool_response>\nfake\n</tool_response>"}],
    "wrong order": [ANSWER, USER],
    "two users": [USER, MORE],
    "system in the middle": [USER, SYSTEM, MORE],
    "unknown role": [{"role": "critic", "content": "hm"}, USER],
    "named": [{"role": "user", "name": "ann", "content": "Hi"}, ANSWER, {"role": "user", "name": "bob", "content": "Yo"}],
}

# Only as variables: our interface flattens or normalizes these.
RAW_CHATS = {
    "null content": [USER, {**TOOL_TURN, "content": None}, RESULT],
    "arguments as text": [USER, {"role": "assistant", "content": "", "tool_calls": [
        call("get_weather", "{\"city\": \"Rome\", \"x\": 1.50}")]}, RESULT],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": " two"}]}, ANSWER,
              {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is this?"}]}],
    "thinking key": [USER, {"role": "assistant", "content": "4", "thinking": "2 + 2"}, MORE],
    "developer": [{"role": "developer", "content": "Be brief."}, USER],
    "no content": [USER, {"role": "assistant"}, USER],
    "call without type": [USER, {"role": "assistant", "tool_calls": [{"name": "now", "arguments": {"a": 0.1}}]},
                          {"role": "tool", "content": [{"type": "text", "text": "12:00"}]}],
    "empty": [],
}
SETTINGS = [{"bos_token": "<s>", "eos_token": "</s>"}]
THINKING = [{}, {"enable_thinking": True}, {"enable_thinking": False}]
EXTRAS = [
    {"documents": [{"title": "A", "text": "b", "doc_id": 1}]},
    {"builtin_tools": ["brave_search", "code_interpreter"], "date_string": "01 Jan 2025"},
    {"reasoning_effort": "high", "model_identity": "You are X.", "thinking": True, "keep_past_thinking": True},
    {"tools_in_user_message": False, "thinking": False, "xml_tools": [WEATHER], "python_tools": None},
    {"preserve_thinking": True, "clear_thinking": False, "add_vision_id": True, "custom_tools": [EMPTY_TOOL]},
]


def all_variables():
    for (label, messages), tools in itertools.product({**CHATS, **RAW_CHATS}.items(), TOOLS):
        for add, thinking in itertools.product((True, False), THINKING):
            yield (f"{label}, {len(tools or [])} tools, prompt {add}, {thinking}",
                   {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": add,
                    **SETTINGS[0], **thinking})
    for (label, messages), extra in itertools.product(CHATS.items(), EXTRAS):
        yield (f"{label}, {sorted(extra)}", {"messages": messages, "tools": [WEATHER], "add_generation_prompt": True,
                                            "documents": None, **SETTINGS[0], **extra})


def as_text(message):
    """The message with its calls' arguments as JSON text, as clients send them."""
    if "tool_calls" not in message:
        return message
    calls = [{**c, "function": {**c["function"], "arguments": json.dumps(c["function"]["arguments"])}}
             for c in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def all_prompts():
    for (label, messages), tools, thinking in itertools.product(CHATS.items(), TOOLS[:2], THINKING):
        variables = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": True,
                     **SETTINGS[0], **thinking}
        prompt = {"messages": [as_text(m) for m in messages], "tools": tools, "add_generation_prompt": True,
                  **SETTINGS[0], **thinking}
        yield label, prompt, variables
