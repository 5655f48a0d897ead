#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes small models with random weights, and writes what the transformers library computes with them.

    pip install torch transformers==5.23.0 gguf==0.19.0 accelerate safetensors
    small_models.py OUT              # what Fixtures/inference/<kind> holds
    small_models.py OUT --float32    # the same, with every tensor of the twins in float32
    small_models.py OUT --k-quants   # OUT/k-quants alone: a llama of one layer in Q4_K, Q5_K and Q6_K, and its logits

OUT/<kind> is a folder as Hugging Face publishes them, with a GGUF twin as llama.cpp's converter names and lays it out:
model.gguf. Every weight is a small integer times a power of two, the power shared by 32 neighbours of a row, so that
float32, float16, bfloat16 and Q8_0 all hold it exactly: folder and twin are one model, and expected.rows is right for
both. llama/quantised.gguf is another: every matrix quantised, in several formats, with its own quantised.rows.

A .rows file, little-endian: "DLOGROWS", u32 vocabulary size, u32 number of prompts; for each prompt u32 n, n token ids
as u32, then n × vocabulary float32 logits.
"""
import argparse
import json
import os
import struct
import sys

os.environ.setdefault("TQDM_DISABLE", "1")

try:
    import gguf
    import numpy
    import torch
    import transformers
    import accelerate  # noqa: F401  transformers asks for it
    from gguf import GGMLQuantizationType as Type
    from safetensors.torch import save_file
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)

SEED = 20240229
VOCABULARY = 128
WINDOW = 8
PROMPTS = [24, 9]
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
COMMON = {
    "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "initializer_range": 0.02,
    "max_position_embeddings": 128, "use_cache": True, "vocab_size": VOCABULARY,
}
# Settings as published: rotary ones in the form from before version 5 of transformers, but for qwen3.
CONFIGS = {
    "llama": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "rms_norm_eps": 1e-3, "rope_theta": 1000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": False, "torch_dtype": "float32",
    },
    # The window is there and is not to be used.
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 5000.0, "sliding_window": WINDOW, "use_sliding_window": False, "max_window_layers": 1,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 20000.0, "rope_type": "default"},
        "attention_bias": False, "sliding_window": None, "use_sliding_window": False, "max_window_layers": 2,
        "layer_types": ["full_attention"] * 2, "tie_word_embeddings": False, "dtype": "bfloat16",
    },
    # Attention is scaled by the square root of query_pre_attn_scalar, not of head_dim; the sixth layer sees everything.
    "gemma3": {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 32, "intermediate_size": 32,
        "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16,
        "query_pre_attn_scalar": 64, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
        "rope_scaling": None, "sliding_window": WINDOW, "_sliding_window_pattern": 6,
        "layer_types": ["sliding_attention"] * 5 + ["full_attention"], "attention_bias": False,
        "attn_logit_softcapping": None, "final_logit_softcapping": None, "hidden_activation": "gelu_pytorch_tanh",
        "torch_dtype": "bfloat16",
    },
    "mixtral": {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 32, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "num_local_experts": 4, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5, "rope_theta": 1000.0,
        "sliding_window": None, "output_router_logits": False, "router_aux_loss_coef": 0.001,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    },
    # Slow turns of pairs are slower still, as in Llama 3: some of the eight are, some are in between, some are not.
    "llama3": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "rms_norm_eps": 1e-5, "rope_theta": 1000.0, "attention_bias": False, "mlp_bias": False,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        "tie_word_embeddings": True, "torch_dtype": "float32",
    },
}


# MARK: Weights

def grid(chance, shape, deviation):
    """Normal numbers on the grid that all formats share."""
    blocks = numpy.prod(shape) // 32
    step = 2.0 ** numpy.round(numpy.log2(deviation * 3.5 / 127))
    steps = step * chance.choice([0.5, 1.0, 2.0], (blocks, 1))
    numbers = numpy.clip(numpy.round(chance.normal(0, deviation, (blocks, 32)) / steps), -127, 127)
    return (numbers * steps).astype(numpy.float32).reshape(shape)


def near(chance, count, center, deviation):
    """Numbers for norms and biases: multiples of 1/64 below two."""
    return (numpy.clip(numpy.round(chance.normal(center, deviation, count) * 64), -127, 127) / 64).astype(numpy.float32)


def weights(kind, config, chance):
    """Weights by Hugging Face's names."""
    gemma = kind == "gemma3"
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads, pairs = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim", width // heads)
    result = {}

    def matrix(name, rows, columns, gain=1.5):
        result[name + ".weight"] = grid(chance, (rows, columns), gain / columns**0.5)

    def norm(name, count):
        # Gemma's norms multiply by one more than their weight.
        result[name + ".weight"] = near(chance, count, 0.0 if gemma else 1.0, 0.3)

    # The logits' deviation comes from the output matrix, which is the embedding in some.
    tied = config.get("tie_word_embeddings", True)
    result["model.embed_tokens.weight"] = grid(chance, (VOCABULARY, width), 4.0 / width**0.5 if tied else 1.0)
    if not tied:
        result["lm_head.weight"] = grid(chance, (VOCABULARY, width), 4.0 / width**0.5)
    norm("model.norm", width)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        norm(at + "input_layernorm", width)
        matrix(at + "self_attn.q_proj", heads * size, width)
        matrix(at + "self_attn.k_proj", pairs * size, width)
        matrix(at + "self_attn.v_proj", pairs * size, width)
        matrix(at + "self_attn.o_proj", width, heads * size)
        if kind == "qwen2":
            for part, rows in [("q", heads), ("k", pairs), ("v", pairs)]:
                result[f"{at}self_attn.{part}_proj.bias"] = near(chance, rows * size, 0.0, 0.7)
        if kind in ("qwen3", "gemma3"):
            norm(at + "self_attn.q_norm", size)
            norm(at + "self_attn.k_norm", size)
            if gemma:
                # Even numbers of sixty-fourths, for the twin holds half of 1 + w.
                part = result[at + "self_attn.q_norm.weight"]
                result[at + "self_attn.q_norm.weight"] = numpy.round(part * 32) / numpy.float32(32) + 1
        norm(at + "post_attention_layernorm", width)
        if gemma:
            norm(at + "pre_feedforward_layernorm", width)
            norm(at + "post_feedforward_layernorm", width)
        if kind == "mixtral":
            moe = at + "block_sparse_moe."
            matrix(moe + "gate", config["num_local_experts"], width, 1.0)
            for expert in range(config["num_local_experts"]):
                matrix(f"{moe}experts.{expert}.w1", inner, width)
                matrix(f"{moe}experts.{expert}.w3", inner, width)
                matrix(f"{moe}experts.{expert}.w2", width, inner, 2.5)
        else:
            matrix(at + "mlp.gate_proj", inner, width)
            matrix(at + "mlp.up_proj", inner, width)
            matrix(at + "mlp.down_proj", width, inner, 2.5)
    return result


# MARK: Vocabulary

def alphabet():
    """The characters that stand for bytes in byte-level vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    codes, extra = {}, 0
    for byte in range(256):
        codes[byte] = chr(byte) if byte in plain else chr(256 + extra)
        extra += byte not in plain
    return codes


def vocabulary():
    """A byte-level vocabulary of 128 tokens, ASCII's printable characters and what English joins first."""
    codes = alphabet()
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = control + [codes[byte] for byte in [10, 32, *range(33, 127)]]
    merges = []
    space = codes[32]
    for left, right in [
        (space, "t"), ("h", "e"), ("i", "n"), (space, "a"), ("r", "e"), ("o", "n"), (space + "t", "he"), ("e", "r"),
        (space, "s"), ("a", "t"), (space, "w"), (space, "o"), ("n", "d"), (space, "c"), ("o", "r"), ("e", "s"),
        ("i", "s"), ("i", "t"), (space, "b"), ("e", "n"), ("in", "g"), (space, "f"), ("a", "n"), ("a", "l"),
        (space, "p"), ("o", "u"), (space, "m"), ("l", "l"), ("e", "d"),
    ]:
        merges.append((left, right))
        tokens.append(left + right)
    assert len(tokens) == VOCABULARY and len(set(tokens)) == VOCABULARY
    return control, tokens, merges


def write_tokenizer(folder):
    control, tokens, merges = vocabulary()
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.save(f"{folder}/tokenizer.json", pretty=False)


# MARK: GGUF

PLAIN = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "block_sparse_moe.gate": "ffn_gate_inp",
}
GEMMA = PLAIN | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
# What a matrix is held in. The rest, vectors and routers, stays float32.
HELD = {"llama": Type.F16, "qwen2": Type.BF16, "qwen3": Type.Q8_0, "gemma3": Type.Q8_0, "mixtral": Type.F16, "llama3": Type.F16}


def permuted(matrix, heads):
    """Rows of each head's halves interleaved: what rotated (i, i + n/2) rotates (2i, 2i + 1) then."""
    return matrix.reshape(heads, 2, len(matrix) // heads // 2, -1).swapaxes(1, 2).reshape(matrix.shape)


def unpermuted(matrix, heads):
    return matrix.reshape(heads, len(matrix) // heads // 2, 2, -1).swapaxes(1, 2).reshape(matrix.shape)


def divisors(config):
    """What llama.cpp's converter puts into a tensor of its own: what each pair's turn is divided by."""
    scaling, length = config["rope_scaling"], config["head_dim"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    result = []
    for pair in range(length // 2):
        waves = scaling["original_max_position_embeddings"] / (2 * numpy.pi * config["rope_theta"] ** (2 * pair / length))
        smooth = min(max((waves - low) / (high - low), 0), 1)
        result.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return numpy.array(result, numpy.float32)


def twin(kind, config, tensors):
    """The tensors by GGUF's names."""
    result, names = {}, GEMMA if kind == "gemma3" else PLAIN
    turned = kind in ("llama", "mixtral", "llama3")
    scale = (config["head_dim"] / config["query_pre_attn_scalar"]) ** 0.5 if kind == "gemma3" else 1
    experts = {}
    for name, value in tensors.items():
        stem, _, suffix = name.rpartition(".")
        layer = ""
        if stem.startswith("model.layers."):
            _, _, number, stem = stem.split(".", 3)
            layer = f"blk.{number}."
        if ".experts." in stem:
            part = {"w1": "ffn_gate_exps", "w2": "ffn_down_exps", "w3": "ffn_up_exps"}[stem[-2:]]
            experts.setdefault(f"{layer}{part}.weight", []).append(value)
            continue
        if turned and stem.endswith("q_proj"):
            value = permuted(value, config["num_attention_heads"])
        if turned and stem.endswith("k_proj"):
            value = permuted(value, config["num_key_value_heads"])
        if kind == "gemma3" and stem.endswith("norm"):
            value = value + 1
            if stem.endswith("q_norm"):
                # The file has no place for query_pre_attn_scalar; a reader takes head_dim. The difference goes here.
                value = value * numpy.float32(scale)
        result[f"{layer}{names[stem]}.{suffix}"] = value
    if kind == "llama3":
        result["rope_freqs.weight"] = divisors(config)
    return result | {name: numpy.stack(values) for name, values in experts.items()}


def pack(value, kind):
    """The bytes of a tensor in a format, as numpy arrays; it fails when that format does not hold it exactly."""
    if kind == Type.F32:
        return value
    if kind == Type.F16:
        data = value.astype(numpy.float16)
    elif kind == Type.Q8_0:
        blocks = value.reshape(-1, 32)
        # The least power of two that keeps the integers within a byte.
        steps = numpy.ones((len(blocks), 1), numpy.float32) * numpy.float32(2.0**-14)
        while (over := numpy.abs(blocks / steps).max(axis=1, keepdims=True) > 127).any():
            steps = numpy.where(over, steps * 2, steps)
        data = numpy.concatenate(
            [steps.astype(numpy.float16).view(numpy.int8), (blocks / steps).astype(numpy.int8)], axis=1
        ).view(numpy.uint8).reshape(*value.shape[:-1], -1)
    else:
        data = gguf.quants.quantize(value, kind)
    back = data.astype(numpy.float32) if kind == Type.F16 else gguf.quants.dequantize(data, kind)
    assert (back.reshape(value.shape) == value).all(), f"{kind.name} does not hold it"
    return data


def write_gguf(path, kind, config, tensors, types):
    architecture = {"mixtral": "llama", "llama3": "llama"}.get(kind, kind)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"random {kind}")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if kind == "gemma3":
        writer.add_sliding_window(config["sliding_window"])
    if kind == "mixtral":
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if architecture == "llama":
        writer.add_vocab_size(VOCABULARY)
        writer.add_rope_dimension_count(config["head_dim"])
    control, tokens, merges = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in control else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    for name, value in tensors.items():
        data, type = value, Type.F32
        if name in types:
            data, type = types[name]
        writer.add_tensor(name, data, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# MARK: What comes of it

def rows(model, prompts):
    with torch.inference_mode():
        return [
            model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().numpy().astype("<f4")
            for ids in prompts
        ]


def load(folder, **more):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **more
    ).eval()


def write_rows(path, prompts, results):
    with open(path, "wb") as file:
        file.write(b"DLOGROWS" + struct.pack("<2I", VOCABULARY, len(prompts)))
        for ids, logits in zip(prompts, results):
            file.write(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids) + logits.tobytes())


def describe(what, results):
    every = numpy.concatenate(results)
    pair = numpy.sort(every, axis=1)
    print(
        f"{what}: logits {every.min():.2f}…{every.max():.2f}, deviation {every.std(axis=1).mean():.2f}, "
        f"least margin {(pair[:, -1] - pair[:, -2]).min():.3f}"
    )


def save(folder, tensors, dtype):
    held = {name: torch.from_numpy(value).to(dtype) for name, value in tensors.items()}
    for name, value in tensors.items():
        assert (held[name].float().numpy() == value).all(), f"{dtype} does not hold {name}"
    save_file(held, f"{folder}/model.safetensors", metadata={"format": "pt"})
    os.chmod(f"{folder}/model.safetensors", 0o644)


def quantised(kind, config, tensors, chance):
    """Every matrix in another format: the packed twin, and the tensors, by Hugging Face's names, that it stands for."""
    formats = [Type.Q4_1, Type.Q4_0, Type.Q8_0, Type.Q5_0, Type.F16, Type.BF16]
    plain, types, meant = twin(kind, config, tensors), {}, dict(tensors)
    turned = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    mapping = {}
    for name, value in tensors.items():
        # A twin of one tensor says its name.
        (other,) = twin(kind, config, {name: value})
        mapping[other] = name
    matrices = [name for name, value in plain.items() if value.ndim == 2]
    for index, name in enumerate(matrices):
        type = Type.Q8_0 if name == "token_embd.weight" else formats[index % len(formats)]
        # Off the grid, so that it is rounded.
        value = plain[name] * numpy.float32(0.9) + chance.normal(0, 0.01, plain[name].shape).astype(numpy.float32)
        data = value.astype(numpy.float16) if type == Type.F16 else gguf.quants.quantize(value, type)
        types[name] = data, type
        back = data.astype(numpy.float32) if type == Type.F16 else gguf.quants.dequantize(data, type)
        heads = turned.get(mapping[name].split(".")[-2])
        meant[mapping[name]] = unpermuted(back, heads) if heads else back
    return plain, types, meant


def k_blocks(chance, shape, kind, deviation):
    """Random blocks of a format that the package gguf reads only, of which the numbers deviate so much from zero."""
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = chance.integers(0, 256, (numpy.prod(shape) // 256, size), dtype=numpy.uint8)
    # Where the halves are, and what makes the numbers' mean nothing: the mean of a quant times the other scale.
    halves = {Type.Q4_K: {0: 1, 2: 7.5}, Type.Q5_K: {0: 1, 2: 15.5}, Type.Q6_K: {208: 1}}[kind]

    def scaled(unit):
        for at, times in halves.items():
            blocks[:, at:at + 2] = (unit * times).astype(numpy.float16).view(numpy.uint8)
        return blocks

    even = numpy.full((len(blocks), 1), 1e-3)
    unit = deviation / gguf.quants.dequantize(scaled(even), kind).std() * even
    return scaled(unit * chance.uniform(0.5, 1.5, unit.shape)).reshape(shape[0], -1)


def k_quants(out):
    config = {
        "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64, "rms_norm_eps": 1e-5, "rope_theta": 1000.0,
        "max_position_embeddings": 128,
    }
    chance = numpy.random.default_rng([SEED, len(CONFIGS)])
    folder = f"{out}/k-quants"
    os.makedirs(folder, exist_ok=True)
    layout = {
        "token_embd": (VOCABULARY, Type.Q6_K, 4.0), "blk.0.attn_q": (256, Type.Q4_K, 1.5),
        "blk.0.attn_k": (128, Type.Q5_K, 1.5), "blk.0.attn_v": (128, Type.Q6_K, 1.5),
        "blk.0.attn_output": (256, Type.Q5_K, 1.5), "blk.0.ffn_gate": (256, Type.Q4_K, 1.5),
        "blk.0.ffn_up": (256, Type.Q5_K, 1.5), "blk.0.ffn_down": (256, Type.Q6_K, 2.5),
    }
    types = {
        f"{name}.weight": (k_blocks(chance, (rows, 256), type, gain / 16), type)
        for name, (rows, type, gain) in layout.items()
    }
    norms = {
        f"{name}.weight": near(chance, 256, 1.0, 0.3) for name in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]
    }
    write_gguf(f"{folder}/model.gguf", "llama", config, norms | dict.fromkeys(types), types)
    prompts = [chance.integers(3, VOCABULARY, count).tolist() for count in PROMPTS]
    results = rows(load(folder, gguf_file="model.gguf"), prompts)
    write_rows(f"{folder}/expected.rows", prompts, results)
    describe("k-quants", results)


def make(out, kind, float32):
    config = CONFIGS[kind] | {key: value for key, value in COMMON.items() if key not in CONFIGS[kind]}
    if kind == "gemma3":
        del config["hidden_act"]
    chance = numpy.random.default_rng([SEED, list(CONFIGS).index(kind)])
    folder = f"{out}/{kind}"
    os.makedirs(folder, exist_ok=True)
    tensors = weights(kind, config, chance)
    with open(f"{folder}/config.json", "w", encoding="ascii") as file:
        json.dump(config, file, indent=2, sort_keys=True)
        file.write("\n")
    save(folder, tensors, getattr(torch, config.get("torch_dtype") or config["dtype"]))
    write_tokenizer(folder)
    prompts = [chance.integers(3, VOCABULARY, count).tolist() for count in PROMPTS]
    results = rows(load(folder), prompts)
    write_rows(f"{folder}/expected.rows", prompts, results)
    describe(kind, results)

    plain, types = twin(kind, config, tensors), {}
    for name, value in plain.items():
        if value.ndim > 1 and "ffn_gate_inp" not in name and not float32:
            held = Type.Q8_0 if name == "token_embd.weight" or "_exps" in name else HELD[kind]
            types[name] = pack(value, held), held
    write_gguf(f"{folder}/model.gguf", kind, config, plain, types)
    # The library reads these two back. Of qwen3 it does not read the size of a head, of gemma3 it knows no
    # query_pre_attn_scalar but its own, and experts in a file of the kind llama it does not look for.
    if kind in ("llama", "qwen2"):
        again = rows(load(folder, gguf_file="model.gguf"), prompts)
        assert all((a == b).all() for a, b in zip(again, results)), "the twin is another model"

    if kind == "llama" and not float32:
        plain, types, meant = quantised(kind, config, tensors, chance)
        write_gguf(f"{folder}/quantised.gguf", kind, config, plain, types)
        again = rows(load(folder, gguf_file="quantised.gguf"), prompts)
        model = load(folder)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in meant.items()})
        results = rows(model, prompts)
        assert all((a == b).all() for a, b in zip(again, results)), "it does not stand for that"
        write_rows(f"{folder}/quantised.rows", prompts, results)
        describe("llama, quantised", results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--float32", action="store_true", help="float32 in the GGUF files")
    parser.add_argument("--k-quants", action="store_true", help="only the model in formats of 256 weights a block")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    if arguments.k_quants:
        return k_quants(arguments.out)
    for kind in CONFIGS:
        make(arguments.out, kind, arguments.float32)


if __name__ == "__main__":
    main()
