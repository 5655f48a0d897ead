#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes token ids that Hugging Face's tokenizers give for varied strings, to compare ours with.

    pip install tokenizers            # and gguf, for --gguf
    tokenizer_vectors.py OUT          # small vocabularies trained here: what Fixtures/tokenizer holds
    tokenizer_vectors.py OUT --gguf SmolLM2-135M-Instruct.Q4_1.gguf    # a real one too

OUT/strings.json holds the strings as hexadecimal bytes, not all of them UTF-8: what is not is replaced by U+FFFD first.
OUT/<name>.json holds a vocabulary in RDRR's own form (or nothing, for a real model), and for each string the ids as a
user's text and as a template's; then lists of ids and the text they mean.
"""
import argparse
import json
import os
import random
import sys

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
except ImportError:
    sys.exit("skipped: the Python package tokenizers is not installed")

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<tool_call>", "<tool>", "\n\n\n"]

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.", "It's the dog's; they'll say we've won, I'm sure you'd agree.",
    "IT'S WE'LL THEY'VE I'M YOU'D they'RE", "l'été à l'hôtel, œuvre naïve", "Größe, Straße, Übermut – “quoted”…",
    "Быстрая коричневая лиса перепрыгивает через ленивую собаку", "Ο Θεός είναι αγάπη", "日本語の文章です。漢字とかな交じり。",
    "敏捷的棕色狐狸跳过懒狗，然后睡觉。", "다람쥐 헌 쳇바퀴에 타고파", "السلام عليكم ورحمة الله وبركاته", "שָׁלוֹם עולם",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "Xin chào thế giới", "Merhaba dünya, İstanbul'da ığdır", "👩‍👩‍👧‍👦 family 🏳️‍🌈 flags 🇩🇪🇫🇷",
    "emoji 😀😃😄 and 🤷🏽‍♀️!", "math: ∑∞ᵢ₌₀ xᵢ² ≤ √π ≠ ∅", "½ ⅓ Ⅷ ① ² ৪ ٣ ๓ 𝟘𝟙𝟚 〇",
    "1234567890 3.14159 1,000,000 0x1F 1e-9 2024-02-29", "for (int i = 0; i < n; ++i) { sum += a[i]; }",
    "def f(x):\n\treturn x ** 2  # comment\n\n\nprint(f(3))", "<div class=\"a\">&nbsp;</div>\r\n\r\n<!-- x -->",
    "SELECT * FROM t WHERE a = 'b' AND c IN (1, 22, 333);", "https://example.org/a?b=c&d=%20#frag", "C:\\Users\\x\\n.txt",
    "snake_case camelCase kebab-case SCREAMING_CASE", "a\u0301 e\u0308 \u1112\u1161\u11ab \u0041\u030a \ufb01 \u212b \u2126",
    "zero\u200bwidth\u200djoin\ufeffbom\u00adsoft", "line\u2028sep\u2029par\u0085nel\u000bvt\u000cff",
    "tabs\t\t\tand   spaces    \t mix  ", "<|im_start|>system\nYou are<|im_end|>\n", "<|endoftext|", "|im_end|>",
    "<tool_call>{\"name\": \"f\"}</tool_call><tool>", "\u2581under\u2581bars\u2581", "<0x41><0x0A>", "Ġpretend Ċbytes",
    "'ſ 'S 'ſo don'T", "ǅ ʰ ª ᛮ 𐍊 𝕬𝖇 ﷽ ꙮ", "\U0001e6c0 \u088f \U00011de0 \U000323b0", "\x00\x01\x1f\x7f\x80\x9f",
]
MALFORMED = [
    b"\xff\xfe", b"ab\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"a\x80b",
    b"\xe2\x28\xa1", b"\xf0\x28\x8c\x28", b"\xf8\x88\x80\x80\x80", b"caf\xe9 au lait", b"\xe0\x80\x80x", b"\xf0\x9f\x98 \xf0",
]


CODE = ["if", "else", "return", "for", "while", "func", "def", "class", "let", "var", "self", "None", "nil", "x", "i", "count",
        "fooBar", "foo_bar", "HTTPServer2", "0xFF", "1e9", "3.14", "42", "'a'", '"s"', "f\"{x}\"", "!=", "==", "->", "=>", "::",
        "&&", "||", "//", "/*", "*/", "#", "#include", "<T>", "&mut", "@property", "$HOME", "${x}", "\\n", "\\u00e9", "...",
        "();", "[]", "{", "}", "(", ")", ";", ",", ".", "=", "+=", "<<", ">>", "`", "~/", "--flag", "don't", "\n", "\n    ",
        "\n\t", "\n\n", "\r\n", " ", "  ", "        ", "\t"]
EMOJI = list("😀🤣🥲🫠👍👋🧑👩👨👧💻🚀🔬🌈🏳🏴❤✌☠⚕♀♂") + [
    "\u200d", "\ufe0f", "\ufe0e", "\u20e3", "1", "#", "*", "🏻", "🏿", "🇩", "🇪", "🇺", "🇸", "\U000e0067", "\U000e007f", " ", "a"]
RIGHT_TO_LEFT = list("אבגדהשלוםםןץ") + list("ابتثجحخدذرزسشعغفقكلمنهويىةءآؤئ") + list("ڀگچپکی") + [
    "ְ", "ָ", "ּ", "َ", "ُ", "ّ", "ْ", "ٰ", "ـ", "٠", "١", "٢", "۳", "۴", "12", "،", "؟", "؛", "״", "־", "\u200f", "\u200e",
    "\u202b", "\u202c", "\u2067", "\u2069", "\u061c", "ﷲ", "ﻼ", " ", " ", "\n", "abc", "(", ")", "-"]
SPECIAL = CONTROL + USER_DEFINED + [
    "<s>", "</s>", "<unk>", "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<|eot_id|>", "<|begin_of_text|>",
    "<|start_header_id|>", "<|im_", "start|>", "<|", "|>", "<", ">", "[INST]", "<0x0A>", "\u2581", "Ġ", "user", "\n", " ", "é"]


def strings(count):
    """At least so many strings, the same each time."""
    chance = random.Random(20240229)
    made = [s.encode() for s in SENTENCES] + MALFORMED
    made += [b"", b" ", b"  ", b"\n", b"\r\n", b"\n\n", b" \n", b"\n ", b"\t", b"'", b"a", b" a", b"a ", b"  a", b"1", b" 1"]
    made += [("x" * n).encode() for n in (31, 32, 33, 34, 100)] + [("ab1 " * 40).encode(), ("é" * 50).encode()]
    spaces = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u3000", "\u2003", ""]
    words = [w for s in SENTENCES for w in s.split()]
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x600), (0x600, 0x700), (0x900, 0xE00), (0x1100, 0x1200),
              (0x2000, 0x2C00), (0x3000, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xF900, 0xFB50), (0x1F300, 0x1F650),
              (0x1D400, 0x1D800), (0xE0020, 0xE0080), (0x20, 0x110000)]
    while len(made) < count:
        kind = chance.randrange(6)
        if kind == 0:
            text = "".join(chance.choice(words) + chance.choice(spaces) for _ in range(chance.randrange(1, 12)))
        elif kind == 1:
            low, high = chance.choice(ranges)
            codes = (chance.randrange(low, high) for _ in range(chance.randrange(1, 20)))
            text = "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)
        elif kind == 2:
            text = "".join(chance.choice("aA1 '\n\r\t.,!é日9sStTlLdmrev\u00a0_") for _ in range(chance.randrange(1, 30)))
        elif kind == 3:
            text = "".join(chance.choice(CONTROL + USER_DEFINED + spaces + words[:20]) for _ in range(chance.randrange(1, 6)))
        elif kind == 4:
            text = "".join(chance.choice(["a", "e", "o", "A", "\u1100", "\u1161", "\u11a8", "\u0301", "\u0308", "\u0323",
                                          "\u0327", "\u0345", "\u05b0", "\u3099", "か", " "]) for _ in range(chance.randrange(2, 12)))
        else:
            data = bytearray(chance.choice(SENTENCES).encode())
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            made.append(bytes(data))
            continue
        made.append(text.encode())
    for words, most in [(CODE, 25), (EMOJI, 14), (RIGHT_TO_LEFT, 30), (SPECIAL, 10)]:
        for _ in range(75):
            made.append("".join(chance.choice(words) for _ in range(chance.randrange(1, most))).encode())
    return made


def pre_tokenizer(name):
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name == "smollm":
        return pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    pattern = {"llama-bpe": LLAMA3, "qwen2": QWEN2}[name]
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(name, vocab, merges, control, user_defined):
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=name == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizer(name)
    tokenizer.decoder = decoders.ByteLevel()
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    add(tokenizer, control, user_defined)
    return tokenizer


def add(tokenizer, control, user_defined):
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in user_defined])


def trained_byte_level(name, corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer(name)
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokens = sorted(vocab, key=vocab.get) + CONTROL + USER_DEFINED
    types = [1] * len(vocab) + [3] * len(CONTROL) + [4] * len(USER_DEFINED)
    bundled = {
        "type": "bpe", "model": "gpt2", "preTokenizer": name, "vocab": {t: i for i, t in enumerate(tokens)},
        "merges": [" ".join(m) for m in merges], "tokenTypes": types,
        "addBosToken": False, "addEosToken": False, "specialTokens": {"bos": tokens.index("<|im_start|>")},
    }
    return byte_level(name, vocab, merges, CONTROL, USER_DEFINED), bundled


def trained_sentence_piece(prefix, corpus):
    """Pieces as SentencePiece would have them; the merges are all pairs that make a piece, the best score first."""
    space = "\u2581"
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False, limit_alphabet=120)
    scratch = Tokenizer(models.BPE())
    scratch.pre_tokenizer = pre_tokenizers.Metaspace(replacement=space, prepend_scheme="never", split=True)
    scratch.train_from_iterator(corpus, trainer)
    learnt = json.loads(scratch.to_str())["model"]["vocab"]
    # Runs of spaces are pieces too, and must merge by their scores.
    pieces = [space * 2, space * 3] + [p for p in sorted(learnt, key=learnt.get) if len(p) > 1]
    letters = [p for p in sorted(learnt, key=learnt.get) if len(p) == 1]
    if space not in letters:
        letters.append(space)
    head = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    pieces = [p for p in dict.fromkeys(pieces)]
    tokens = head + byte_tokens + pieces + letters + USER_DEFINED
    vocab = {t: i for i, t in enumerate(tokens)}
    types = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) + len(letters)) + [4] * len(USER_DEFINED)
    scores = [0.0] * (3 + 256) + [-float(i) for i in range(len(pieces) + len(letters))] + [0.0] * len(USER_DEFINED)
    merges = []
    for piece in pieces:
        for cut in range(1, len(piece)):
            if piece[:cut] in vocab and piece[cut:] in vocab:
                merges.append((piece[:cut], piece[cut:]))
    plain = {t: i for t, i in vocab.items() if t not in USER_DEFINED}
    tokenizer = Tokenizer(models.BPE(vocab=plain, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    steps = [normalizers.Prepend(space)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence(steps + [normalizers.Replace(" ", space)])
    chain = [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(chain + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    add(tokenizer, head, USER_DEFINED)
    bundled = {
        "type": "unigram", "model": "llama", "preTokenizer": "default", "vocab": vocab, "merges": None, "scores": scores,
        "tokenTypes": types, "addBosToken": False, "addEosToken": False, "addSpacePrefix": prefix,
        "specialTokens": {"unk": 0, "bos": 1, "eos": 2},
    }
    return tokenizer, bundled


def vectors(tokenizer, texts):
    def ids(as_text):
        tokenizer.encode_special_tokens = as_text
        return [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]

    user, trusted = ids(True), ids(False)
    chance = random.Random(7)
    size = tokenizer.get_vocab_size()
    lists = [[chance.randrange(size) for _ in range(chance.randrange(1, 12))] for _ in range(100)]
    return {
        "user": user,
        # Only what differs.
        "trusted": {str(i): t for i, (u, t) in enumerate(zip(user, trusted)) if u != t},
        "decoded": [{"ids": l, "text": tokenizer.decode(l, skip_special_tokens=False),
                     "plain": tokenizer.decode(l, skip_special_tokens=True)} for l in lists],
        # Which strings come back as they were, and the text of the others.
        "returned": {str(i): d for i, (u, t) in enumerate(zip(user, texts))
                     if (d := tokenizer.decode(u, skip_special_tokens=False)) != t},
    }


def real(path, texts):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    name = fields["tokenizer.ggml.pre"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    vocab = {t: i for i, t in enumerate(tokens)}
    control = [t for t, kind in zip(tokens, types) if kind == 3]
    return vectors(byte_level(name, vocab, merges, control, [t for t, k in zip(tokens, types) if k == 4]), texts)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out")
    options.add_argument("--gguf")
    options.add_argument("--count", type=int, default=1100)
    options = options.parse_args()
    os.makedirs(options.out, exist_ok=True)
    made = strings(options.count)
    texts = [m.decode("utf-8", "replace") for m in made]

    def write(name, value):
        with open(os.path.join(options.out, name + ".json"), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=True, separators=(",", ":"))
            file.write("\n")

    write("strings", [m.hex() for m in made])
    if options.gguf:
        write("real", real(options.gguf, texts))
    else:
        for name in ["gpt-2", "smollm", "llama-bpe", "qwen2"]:
            tokenizer, bundled = trained_byte_level(name, SENTENCES * 3)
            write(name, {"tokenizer": bundled, "huggingFace": json.loads(tokenizer.to_str())} | vectors(tokenizer, texts))
        for name, prefix in [("sentencepiece", False), ("sentencepiece-prefix", True)]:
            tokenizer, bundled = trained_sentence_piece(prefix, SENTENCES * 3)
            write(name, {"tokenizer": bundled, "huggingFace": json.loads(tokenizer.to_str())} | vectors(tokenizer, texts))


if __name__ == "__main__":
    main()
