#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a mixture of experts of a real dense model, one of which it is known what it must compute.

    pip install torch transformers==5.23.0 gguf==0.19.0 accelerate
    upcycled.py make DENSE.gguf MOE.gguf [--experts 4] [--used 2] [--scaled]
    upcycled.py full DENSE.gguf MOE.gguf FOLDER [--prompt NAME]     # only for --scaled: its logits, as logits.py full

Every expert is the dense model's feed-forward part with its hidden values in another order, block by block, so that no
two experts have the same bytes and all compute the same: whatever the random router picks, the logits are those of the
dense model (`logits.py full`). With --scaled each expert's output is also multiplied by a power of two of its own, so
that a wrong expert or a wrong share shows; `full` computes what comes of that. Only a dense model of the kind llama.
"""
import argparse
import os
import re
import sys

try:
    import gguf
    import numpy
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)

import logits

SEED = 20240229
PARTS = re.compile(r"blk\.(\d+)\.ffn_(gate|up|down)\.weight")
SCALES = {"F32": None, "F16": None, "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def factor(expert, scaled):
    return 2.0 ** (expert - 1) if scaled else 1.0


def reordered(tensor, part, order, block):
    """The bytes of a matrix with the hidden values in another order, in blocks of so many."""
    data = tensor.data
    if part == "down":
        return data.reshape(len(data), len(order), -1)[:, order].reshape(data.shape)
    return data.reshape(len(order), block, -1)[order].reshape(data.shape)


def scaled_by(data, kind, number):
    """A matrix times a power of two, exactly: the scales of its blocks are multiplied."""
    name = kind.name
    if number == 1:
        return data
    if SCALES.get(name, ()) is None:
        return data * data.dtype.type(number)
    if name not in SCALES:
        sys.exit(f"{name} is not known here")
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = data.reshape(-1, size).copy()
    for at in SCALES[name]:
        halves = blocks[:, at:at + 2].copy().view(numpy.float16)
        product = halves * numpy.float16(number)
        if (product / numpy.float16(number) != halves).any():
            sys.exit(f"a scale of {name} times {number} is no number of half precision")
        blocks[:, at:at + 2] = product.view(numpy.uint8)
    return blocks.reshape(data.shape)


def check(dense, experts, scaled, width):
    """Fails when an expert is another function than the dense part, by more than the order of sums explains."""
    x = numpy.random.default_rng(SEED).normal(0, 1, width).astype(numpy.float32)

    def run(parts):
        gate, up, down = (gguf.quants.dequantize(data, kind) for data, kind in parts)
        hidden = gate @ x
        return down @ (hidden / (1 + numpy.exp(-hidden)) * (up @ x))

    wanted = run(dense)
    for expert, parts in enumerate(experts):
        difference = numpy.abs(run(parts) / factor(expert, scaled) - wanted).max()
        assert difference < 1e-5 * numpy.abs(wanted).max(), (expert, difference)


def make(dense, out, count, used, scaled):
    reader = gguf.GGUFReader(dense)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields["general.architecture"] != "llama" or "llama.expert_count" in fields:
        sys.exit("a dense model of the kind llama is asked for")
    chance = numpy.random.default_rng(SEED)
    width = fields["llama.embedding_length"]
    writer = gguf.GGUFWriter(out, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, fields[name], field.types[0], sub_type=inner)
    writer.add_expert_count(count)
    writer.add_expert_used_count(used)
    parts = {}
    for tensor in reader.tensors:
        if match := PARTS.fullmatch(tensor.name):
            layer, part = int(match[1]), match[2]
            parts.setdefault(layer, {})[part] = tensor
            continue
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for layer, three in sorted(parts.items()):
        block = max(32, gguf.GGML_QUANT_SIZES[three["down"].tensor_type][0])
        orders = [chance.permutation(int(three["gate"].shape[1]) // block) for _ in range(count)]
        held = {
            part: [
                scaled_by(reordered(tensor, part, order, block), tensor.tensor_type,
                          factor(expert, scaled) if part == "down" else 1)
                for expert, order in enumerate(orders)
            ]
            for part, tensor in three.items()
        }
        if layer == 0:
            names = ["gate", "up", "down"]
            check(
                [(three[name].data, three[name].tensor_type) for name in names],
                [[(held[name][e], three[name].tensor_type) for name in names] for e in range(count)], scaled, width)
        router = chance.normal(0, 1.5 / width**0.5, (count, width)).astype(numpy.float32)
        writer.add_tensor(f"blk.{layer}.ffn_gate_inp.weight", router)
        for part, data in held.items():
            writer.add_tensor(
                f"blk.{layer}.ffn_{part}_exps.weight", numpy.stack(data), raw_dtype=three[part].tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{os.path.getsize(out)} bytes")


def full(dense, mixture, folder, names):
    import torch

    reader = gguf.GGUFReader(mixture)
    fields = {name: reader.fields[name].contents() for name in ("llama.expert_count", "llama.expert_used_count")}
    count, used = fields.values()
    routers = {
        int(tensor.name.split(".")[1]): torch.from_numpy(numpy.array(tensor.data))
        for tensor in reader.tensors if tensor.name.endswith("ffn_gate_inp.weight")
    }
    factors = torch.tensor([factor(expert, True) for expert in range(count)])

    class Mixed(torch.nn.Module):
        def __init__(self, part, router):
            super().__init__()
            self.part, self.router = part, router

        def forward(self, x):
            best = torch.topk((x @ self.router.T).softmax(dim=-1), used, dim=-1)
            share = best.values / best.values.sum(dim=-1, keepdim=True)
            return self.part(x) * (share * factors[best.indices]).sum(dim=-1, keepdim=True)

    model, tokenizer = logits.load(dense)
    for index, layer in enumerate(model.model.layers):
        layer.mlp = Mixed(layer.mlp, routers[index])
    logits.write_full(model, tokenizer, folder, names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    mode = modes.add_parser("make")
    mode.add_argument("dense")
    mode.add_argument("out")
    mode.add_argument("--experts", type=int, default=4)
    mode.add_argument("--used", type=int, default=2)
    mode.add_argument("--scaled", action="store_true")
    mode = modes.add_parser("full")
    mode.add_argument("dense")
    mode.add_argument("mixture")
    mode.add_argument("folder")
    mode.add_argument("--prompt", action="append", choices=list(logits.PROMPTS))
    arguments = parser.parse_args()
    if arguments.mode == "make":
        make(arguments.dense, arguments.out, arguments.experts, arguments.used, arguments.scaled)
    else:
        full(arguments.dense, arguments.mixture, arguments.folder, arguments.prompt)


if __name__ == "__main__":
    main()
