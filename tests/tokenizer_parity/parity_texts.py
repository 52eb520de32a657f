"""Texts for run_parity.py: made from seeds, Unicode's tables and this project's own files; no foreign text."""
import pathlib
import random
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parents[2]
ASSIGNED = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
MARKS = [chr(c) for c in ASSIGNED if unicodedata.combining(chr(c))]
COMPOSED = [chr(c) for c in ASSIGNED if unicodedata.decomposition(chr(c))[:1] not in ("", "<")]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇯🇵🇫🇷", "👍🏽", "❤️", "1️⃣", "🧑🏿‍🚀", "☺", "🫠"]
SYLLABLES = "ba be co da den el er est fa in ing ka lo mi na ness on or pre qua re sta sti ter the tion un ver wor x y z".split()
CODE = ["if (", "for (int i = 0; ", "return ", "->", "::", "std::", "def ", "    ", "\t\t", "\n", "\r\n", "{\n", "}\n", "();", " // ", "/* ", " */",
        "#include <", "==", "!=", "&&", "||", "<=", "0x1F", "1.5e-10", "self.", "[i]", "\"%s\\n\"", "'c'", "lambda x: ", "=>", "`", "${", "<div class=\"", "</"]
CONTRACTIONS = [a + b + c for a in ("'", "’", " '", "''", "don'", "I'", "1'") for b in
                ("s", "S", "t", "T", "re", "RE", "Re", "rE", "ve", "VE", "m", "M", "ll", "LL", "lL", "d", "D", "ſ", "\u212a", "r", "l", "v")
                for c in ("", "x", " ", "'", "é", "1")]
TAGS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_start", "im_end|>",
        "<|begin_of_text|>", "<|eot_id|>", "<|", "|>", "<<|im_end|>>", "<repo_name>", "<|IM_END|>"]
ILL_FORMED = [b"\x80", b"\xff", b"\xc0\xaf", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xc3", b"\xf8\x88\x80\x80\x80",
              b"\xf0\x80\x80\x80", b"\xe2(\xa1", b"\xf1\x80\xc2\x41"]


def word(rng):
    w = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4)))
    return rng.choice([w, w, w, w.capitalize(), w.upper()])


def han(rng):
    # A small part of the block is as frequent as in real text.
    return chr(0x4E00 + min(int(rng.expovariate(1 / 3000)), 0x51FF))


def piece(rng, words):
    kind = rng.randrange(16)
    if kind < 5:
        return rng.choice(words) + rng.choice([" ", " ", " ", ", ", ". ", ".\n", "\n\n", "-", "  "])
    if kind < 7:
        return "".join(han(rng) for _ in range(rng.randint(1, 25))) + rng.choice("，。！？、；：（）「」 \n")
    if kind == 7:
        return str(rng.randrange(10 ** rng.randint(1, 20))) + rng.choice(["", " ", ".", ",", "%", "٣", "²", "Ⅷ", "½", "𝟗", "一"])
    if kind == 8:
        return rng.choice(EMOJI) * rng.randint(1, 3)
    if kind == 9:
        return rng.choice(["a", "e", "o", "ﬁ", "क", "x̣", "ợ"]) + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 6)))
    if kind == 10:
        jamo = chr(0x1100 + rng.randrange(21)) + chr(0x1161 + rng.randrange(23)) + chr(0x11A7 + rng.randrange(29))
        return jamo[: rng.randint(1, 3)] + chr(0xAC00 + rng.randrange(11172)) + rng.choice(["", "\u11a8", "\u1161"])
    if kind == 11:
        return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 5)))
    if kind == 12:
        return rng.choice(CONTRACTIONS)
    if kind == 13:
        return rng.choice(TAGS) if rng.random() < 0.3 else rng.choice(CODE)
    if kind == 14:
        return rng.choice(CODE) + rng.choice(words)
    return rng.choice([chr(rng.choice(ASSIGNED)), rng.choice(COMPOSED), chr(rng.randrange(32)), "！", "Ａ１", "¿", "—"])


def mixed(rng, size, words):
    parts, total = [], 0
    while total < size:
        parts.append(piece(rng, words))
        total += len(parts[-1].encode())
    return "".join(parts).encode()


def with_errors(rng, text):
    data = bytearray(text)
    for _ in range(max(1, len(data) // 60)):
        at = rng.randrange(len(data) + 1)
        data[at:at] = rng.choice(ILL_FORMED)
    return bytes(data)


def own_files():
    """The project's documents and sources."""
    for pattern in ("*.md", "docs/**/*.md", "src/**/*.cc", "src/**/*.h", "tests/**/*.py", "web/src/**/*.ts"):
        for path in sorted(ROOT.glob(pattern)):
            yield path.read_bytes()


def every_code_point():
    """Each assigned code point (and the unassigned and private ones sampled) after and before letters, spaces, digits,
    marks, an apostrophe and itself."""
    # Of ideographs and syllables, which are all alike, every 16th is enough.
    alike = lambda c: 0x3400 <= c < 0xD7A4 or 0x17000 <= c < 0x18D00 or 0x20000 <= c < 0x32000
    points = [c for c in ASSIGNED if not alike(c) or c % 16 == 0] + list(range(0x2F00, 0x110000, 257)) + list(range(0x1C80, 0x1CA0)) + list(range(0x16D40, 0x16D80))
    points = [c for c in points if not 0xD800 <= c < 0xE000]
    block = []
    for c in points:
        ch = chr(c)
        block.append(f"a{ch}b {ch} {ch}{ch}1{ch}2 \n{ch}\n '{ch}e\u0301{ch}\u0323\u0301 .{ch}.")
        if len(block) == 512:
            yield "".join(block).encode()
            block = []
    yield "".join(block).encode()


def runs(size):
    """One character, or one short motif, over and over."""
    for unit in ("a", " ", "\n", "7", "é", "漢", "\u0301", "\u0316\u0301", "\u0345\u0301\u0316", "\t", ".", "\r\n", "👍", "<", "\u1161", "ab", "\u00a0", "e\u0301", "'s", " a", "\x00", "̖́x"):
        yield (unit * (size // len(unit.encode()))).encode()
        yield ("x" + unit * (size // len(unit.encode()) // 2) + "y").encode()


def texts(seed, size, run_size, files):
    """About `size` bytes, most in pieces of 5 bytes to 30 KB; with the project's files where `files` says so."""
    rng = random.Random(seed)
    words = [word(rng) for _ in range(4000)]
    words += ["hello", "world", "function", "tokenizer", "information", "straße", "naïve", "Привет", "مرحبا", "γειά", "नमस्ते", "ไทยแลนด์", "日本語テキスト", "ПРИВЕТ"]
    yield b""
    done = 0
    if files:
        for text in own_files():
            done += len(text)
            yield text
    yield from every_code_point()
    for c in CONTRACTIONS + TAGS + EMOJI + CODE + list(SPACES):
        yield c.encode()
    yield from runs(run_size)
    while done < size:
        text = mixed(rng, rng.choice([5, 100, 1000, 10000, 30000]), words)
        if rng.random() < 0.15:
            text = with_errors(rng, text)
        done += len(text)
        yield text
