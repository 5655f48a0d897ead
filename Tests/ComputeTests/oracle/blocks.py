# SPDX-License-Identifier: Apache-2.0
"""Random blocks of each format and what the `gguf` package makes of them, as lines of text:

    NAME <blocks in hexadecimal> <single-precision values, little-endian, in hexadecimal>

Usage: blocks.py SEED [BLOCKS]; exit status 77 with a reason when the package is not installed.
"""
import sys

try:
    import numpy
    from gguf import GGMLQuantizationType, quants
except ImportError as error:
    print(f"skipped: {error}; pip install gguf", file=sys.stderr)
    sys.exit(77)

# Where the halves of a block are: they are replaced by ordinary numbers, for among random bits there are infinities.
FORMATS = {
    "F16": (64, None), "BF16": (64, None),
    "Q4_0": (18, [0]), "Q4_1": (20, [0, 2]), "Q5_0": (22, [0]), "Q8_0": (34, [0]),
    "Q4_K": (144, [0, 2]), "Q5_K": (176, [0, 2]), "Q6_K": (210, [208]),
}


def main():
    random = numpy.random.default_rng(int(sys.argv[1]))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for name, (size, halves) in FORMATS.items():
        blocks = random.integers(0, 256, (count, size), dtype=numpy.uint8)
        if halves is None:
            numbers = random.normal(0, 1, (count, size // 2)).astype(numpy.float32)
            if name == "F16":
                # Subnormal numbers, too.
                numbers[:, :4] *= numpy.float32(1e-6)
                blocks = numbers.astype(numpy.float16).view(numpy.uint8)
                values = blocks.view(numpy.float16).astype(numpy.float32)
            else:
                blocks = quants.quantize(numbers, GGMLQuantizationType.BF16)
                values = quants.dequantize(blocks, GGMLQuantizationType.BF16)
        else:
            for offset in halves:
                scale = random.normal(0, 0.1, (count, 1)).astype(numpy.float16)
                blocks[:, offset:offset + 2] = scale.view(numpy.uint8)
            values = quants.dequantize(blocks, GGMLQuantizationType[name])
        values = numpy.ascontiguousarray(values, dtype="<f4")
        print(name, blocks.tobytes().hex(), values.tobytes().hex())


main()
