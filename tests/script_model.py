#!/usr/bin/env python3
"""Writes a small Hugging Face folder with a model that says one text, token by token, whatever it is asked.

One layer of zeros leaves the embedding of the last token as it is; the output matrix names the next one. The pieces of
the text are tokens of their own; after the last comes <|im_end|>.
"""
import argparse
import array
import json
import pathlib
import struct
import sys

WIDTH = 256
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def byte_alphabet():
    """GPT-2's letters for bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {}, 0
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + extra)
            extra += 1
    return letters


def write_tensors(path, tensors):
    header, offset = {}, 0
    for name, (shape, data) in tensors.items():
        size = 4 * len(data)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            if sys.byteorder == "big":
                data.byteswap()
            file.write(data.tobytes())


def zeros(rows, columns):
    return [rows, columns], array.array("f", bytes(4 * rows * columns))


def write_model(folder, pieces, chat_template=CHATML, after="\n", pre_tokenizer=None):
    """`after` is the last token of the prompts: the one that the first piece follows."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contents = SPECIAL + list(pieces)
    if len(set(contents)) != len(contents):
        raise ValueError("the pieces must differ: each is a token that names the next one")
    vocab = -(-(256 + len(contents)) // 32) * 32
    end = 256 + 2
    script = [after.encode()[-1], *range(256 + len(SPECIAL), 256 + len(contents)), end]

    # Tokens of the script have a direction of their own; all others share the last one, which names the end.
    embedding, output = zeros(vocab, WIDTH), zeros(vocab, WIDTH)
    for token in range(vocab):
        embedding[1][token * WIDTH + WIDTH - 1] = 1.0
    for direction, token in enumerate(script[:-1]):
        embedding[1][token * WIDTH + WIDTH - 1] = 0.0
        embedding[1][token * WIDTH + direction] = 1.0
        output[1][script[direction + 1] * WIDTH + direction] = 8.0
    output[1][end * WIDTH + WIDTH - 1] = 8.0
    ones = [WIDTH], array.array("f", [1.0]) * WIDTH
    layer = "model.layers.0."
    write_tensors(folder / "model.safetensors", {
        "lm_head.weight": output, "model.embed_tokens.weight": embedding, "model.norm.weight": ones,
        layer + "input_layernorm.weight": ones, layer + "post_attention_layernorm.weight": ones,
        **{layer + f"mlp.{name}_proj.weight": zeros(WIDTH, WIDTH) for name in ("down", "gate", "up")},
        **{layer + f"self_attn.{name}_proj.weight": zeros(WIDTH, WIDTH) for name in ("q", "o")},
        **{layer + f"self_attn.{name}_proj.weight": zeros(128, WIDTH) for name in ("k", "v")},
    })
    letters = byte_alphabet()
    added = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": i < len(SPECIAL)} for i, text in enumerate(contents)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
             "fuse_unk": False, "byte_fallback": False, "vocab": {letters[byte]: byte for byte in range(256)}, "merges": []}
    files = {
        "tokenizer.json": {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                           "pre_tokenizer": pre_tokenizer or level, "post_processor": None, "decoder": level, "model": model},
        "tokenizer_config.json": {"eos_token": "<|im_end|>", "bos_token": None, "pad_token": "<|endoftext|>",
                                  "chat_template": chat_template},
        "config.json": {"model_type": "llama", "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1,
                        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": vocab,
                        "max_position_embeddings": 4096, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
                        "tie_word_embeddings": False, "eos_token_id": end, "hidden_act": "silu"},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("piece", nargs="+", help="a token of the answer")
    options = parser.parse_args()
    write_model(options.folder, options.piece)


if __name__ == "__main__":
    main()
