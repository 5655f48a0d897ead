#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the transformers library computes in float32 with a real GGUF model, and how far ours is from it.

    pip install torch transformers==5.23.0 gguf==0.19.0 accelerate     # torch for the CPU is enough
    logits.py write MODEL.gguf OUT.logits           # the compact fixture: Fixtures/inference/*.logits
    logits.py full MODEL.gguf FOLDER [--prompt NAME]    # for each prompt NAME.txt, NAME.ids and every logit, NAME.f32
    logits.py compare REFERENCE OURS [--prompt NAME]    # REFERENCE: a .f32 or .logits file; OURS: float32 rows
        [--difference X] [--divergence X]               # fails where a logit, or a position's KL, is further away, or
                                                        # another token is first where the margin exceeds 0.05

Everything is teacher-forced: row i holds the logits after the tokens 0…i. A file of rows is raw little-endian float32,
positions × vocabulary, as `dreamer generate --logits FILE` writes it. Of a .logits file only what it holds is compared.

A .logits file, little-endian, every field four bytes but the first:
    "DLOGITS1", vocabulary size, T (top), O (other), number of prompts; for each prompt:
    number of tokens, the token ids; for each token a position:
    float32 logsumexp of all logits, then T + O pairs of (id, float32 logit): the T largest, falling, then O others
"""
import argparse
import os
import struct
import sys

try:
    import numpy
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)

MAGIC = b"DLOGITS1"
TOP, OTHER, SEED = 48, 16, 20240229
MARGIN = 0.05

PROMPTS = {
    "word": "The",
    "prose": (
        "The lighthouse keeper climbed the stairs every evening at dusk, carrying a can of oil and a loaf of bread. "
        "Nobody had told him that the ships no longer passed this way, and he wouldn't have believed it; the sea, he "
        "said, forgets nothing. On the last night of November"
    ),
    "code": (
        "def primes(limit):\n    \"\"\"Every prime below the limit.\"\"\"\n    sieve = [True] * limit\n"
        "    for i in range(2, int(limit ** 0.5) + 1):\n        if sieve[i]:\n"
        "            sieve[i * i :: i] = [False] * len(sieve[i * i :: i])\n"
        "    return [i for i in range(2, limit) if sieve[i]]\n\n\nassert primes(10) == ["
    ),
    "chat": [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is Paris."},
        {"role": "user", "content": "Write one line about its river, please."},
    ],
    "digits": "3.14159; 2024-02-29T23:59:60Z; 1,000 x 17% = 170; 0xDEADBEEF; 1 1 2 3 5 8 13",
    "scripts": "日本語の文章です。棕色狐狸。다람쥐 🚀👩‍👧 café — ¿qué? Привет, мир! مرحبا",
    "long": (
        "A short history of paper. Before paper there was papyrus, cut from the reeds of the Nile, pressed into sheets "
        "and dried in the sun; before papyrus there were clay tablets, wax, bark, bone, and the shells of tortoises. "
        "Paper as we know it was made in China about two thousand years ago from rags, hemp and the bark of the "
        "mulberry tree. The craft moved west along the roads of trade: Samarkand, Baghdad, Cairo, Fez, and at last "
        "Spain and Italy, where mills were driven by water. In summary, paper was first made in"
    ),
}


def load(path):
    """The model in float32 and its tokenizer."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging
        import accelerate, gguf  # noqa: E401, F401  transformers asks for both
    except ImportError as error:
        print(f"skipped: {error}", file=sys.stderr)
        sys.exit(77)
    logging.disable_progress_bar()
    folder, name = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    return model, tokenizer


def text_of(prompt, tokenizer):
    if isinstance(prompt, str):
        return prompt
    return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)


def rows(model, ids):
    """Float32 logits, positions × vocabulary."""
    import torch

    with torch.inference_mode():
        out = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return out.numpy().astype("<f4")


def log_sum_exp(values):
    values = values.astype(numpy.float64)
    top = values.max()
    return top + numpy.log(numpy.exp(values - top).sum())


def chosen(names):
    return {name: PROMPTS[name] for name in (names or PROMPTS)}


def describe(name, ids, logits):
    spread = logits.astype(numpy.float64).std(axis=1).mean()
    pair = numpy.sort(numpy.partition(logits, -2, axis=1)[:, -2:], axis=1)
    margin = pair[:, 1] - pair[:, 0]
    print(
        f"{name}: {len(ids)} tokens, logits {logits.min():.2f}…{logits.max():.2f}, deviation {spread:.2f}, "
        f"{int((margin > MARGIN).sum())} with a margin over {MARGIN}"
    )


def write(model_path, out):
    model, tokenizer = load(model_path)
    chance = numpy.random.default_rng(SEED)
    vocabulary = model.config.vocab_size
    with open(out, "wb") as file:
        file.write(MAGIC + struct.pack("<4I", vocabulary, TOP, OTHER, len(PROMPTS)))
        for name, prompt in PROMPTS.items():
            ids = tokenizer(text_of(prompt, tokenizer)).input_ids
            logits = rows(model, ids)
            describe(name, ids, logits)
            file.write(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids))
            for row in logits:
                order = numpy.argsort(-row, kind="stable")
                kept = numpy.concatenate([order[:TOP], chance.choice(order[TOP:], OTHER, replace=False)])
                file.write(struct.pack("<f", log_sum_exp(row)))
                for token in kept:
                    file.write(struct.pack("<If", token, row[token]))
    print(f"{os.path.getsize(out)} bytes")


def write_full(model, tokenizer, folder, names):
    os.makedirs(folder, exist_ok=True)
    for name, prompt in chosen(names).items():
        text = text_of(prompt, tokenizer)
        ids = tokenizer(text).input_ids
        logits = rows(model, ids)
        describe(name, ids, logits)
        with open(f"{folder}/{name}.txt", "w", encoding="utf-8", newline="") as file:
            file.write(text)
        with open(f"{folder}/{name}.ids", "w", encoding="ascii") as file:
            file.write(" ".join(map(str, ids)) + "\n")
        logits.tofile(f"{folder}/{name}.f32")


def read(path):
    """What a .logits file holds: the vocabulary's size and (ids, logsumexps, kept ids, kept logits) of each prompt."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != MAGIC:
        sys.exit(f"{path} is no .logits file")
    vocabulary, top, other, count = struct.unpack_from("<4I", data, 8)
    at, prompts = 24, []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, at)
        ids = list(struct.unpack_from(f"<{length}I", data, at + 4))
        at += 4 + 4 * length
        width = 1 + 2 * (top + other)
        table = numpy.frombuffer(data, "<u4", length * width, at).reshape(length, width)
        at += 4 * length * width
        values = table.view("<f4")
        prompts.append((ids, values[:, 0], table[:, 1::2], values[:, 2::2]))
    if at != len(data):
        sys.exit(f"{path}: {len(data) - at} bytes too many")
    return vocabulary, top, prompts


def compare(reference, ours, name, most_difference, most_divergence):
    with open(reference, "rb") as file:
        compact = file.read(8) == MAGIC
    mine = numpy.fromfile(ours, "<f4")
    if compact:
        if name is None:
            sys.exit("say which --prompt of the .logits file it is")
        vocabulary, top, prompts = read(reference)
        ids, sums, tokens, wanted = prompts[list(PROMPTS).index(name)]
        count = len(ids)
    else:
        wanted = numpy.fromfile(reference, "<f4")
        if wanted.size != mine.size:
            sys.exit(f"{wanted.size} logits are expected, {mine.size} are there")
        with open(os.path.splitext(reference)[0] + ".ids", encoding="ascii") as file:
            count = len(file.read().split())
        vocabulary = wanted.size // count
    if mine.size != count * vocabulary:
        sys.exit(f"{count} × {vocabulary} logits are expected, {mine.size} are there")
    mine = mine.reshape(count, vocabulary).astype(numpy.float64)
    if not numpy.isfinite(mine).all():
        sys.exit("some logits are no numbers")
    own_sums = numpy.array([log_sum_exp(row) for row in mine])
    if compact:
        wanted = wanted.astype(numpy.float64)
        got = numpy.take_along_axis(mine, tokens.astype(numpy.int64), axis=1)
        # What is not among the largest is one event: the divergence of the coarser distributions, a lower bound.
        p, q = numpy.exp(wanted[:, :top] - sums[:, None]), numpy.exp(got[:, :top] - own_sums[:, None])
        rest_p, rest_q = (numpy.maximum(1 - x.sum(axis=1), 1e-30) for x in (p, q))
        divergence = (p * numpy.log(p / q)).sum(axis=1) + rest_p * numpy.log(rest_p / rest_q)
        best, margin = tokens[:, 0], wanted[:, 0] - wanted[:, 1]
    else:
        wanted = wanted.reshape(count, vocabulary).astype(numpy.float64)
        sums = numpy.array([log_sum_exp(row) for row in wanted])
        got = mine
        lp, lq = wanted - sums[:, None], mine - own_sums[:, None]
        divergence = (numpy.exp(lp) * (lp - lq)).sum(axis=1)
        pair = numpy.sort(numpy.partition(wanted, -2, axis=1)[:, -2:], axis=1)
        best, margin = wanted.argmax(axis=1), pair[:, 1] - pair[:, 0]
    difference = numpy.abs(got - wanted)
    sure = margin > MARGIN
    agreed = (mine.argmax(axis=1) == best)[sure]
    print(f"positions {count}, vocabulary {vocabulary}, logits compared {difference.size}")
    print(f"max |d logit| {difference.max():.3g} at position {difference.max(axis=1).argmax()}")
    print(f"mean |d logit| {difference.mean():.3g}")
    print(f"max |d logsumexp| {numpy.abs(own_sums - sums).max():.3g}")
    print(f"max KL(reference‖ours) {divergence.max():.3g}, mean {divergence.mean():.3g}")
    print(f"argmax {int(agreed.sum())} of {agreed.size} where the reference's margin exceeds {MARGIN}")
    limits = [(most_difference, difference.max()), (most_divergence, divergence.max())]
    limits = [(most, found) for most, found in limits if most is not None]
    if any(found > most for most, found in limits) or limits and not agreed.all():
        sys.exit("that is too far away")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    mode = modes.add_parser("write")
    mode.add_argument("model")
    mode.add_argument("out")
    mode = modes.add_parser("full")
    mode.add_argument("model")
    mode.add_argument("folder")
    mode.add_argument("--prompt", action="append", choices=list(PROMPTS))
    mode = modes.add_parser("compare")
    mode.add_argument("reference")
    mode.add_argument("ours")
    mode.add_argument("--prompt", choices=list(PROMPTS))
    mode.add_argument("--difference", type=float)
    mode.add_argument("--divergence", type=float)
    arguments = parser.parse_args()
    if arguments.mode == "write":
        write(arguments.model, arguments.out)
    elif arguments.mode == "full":
        write_full(*load(arguments.model), arguments.folder, arguments.prompt)
    else:
        compare(
            arguments.reference, arguments.ours, arguments.prompt, arguments.difference, arguments.divergence)


if __name__ == "__main__":
    main()
