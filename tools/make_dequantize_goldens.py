#!/usr/bin/env python3
"""Writes tests/data/dequantize/FORMAT.bin: blocks of every number format and the fp32 numbers that they stand for.

    pip install gguf==0.19.0 && tools/make_dequantize_goldens.py [FOLDER] [--blocks N]

The expected numbers come from the `gguf` package. A file is a little-endian 32-bit count of blocks, the blocks, and the
numbers as fp32. Blocks are random bytes (every bit pattern is a valid block) whose half-precision scales are kept finite;
formats that the package can quantize also get blocks of quantized Gaussian numbers.
"""

import argparse
import pathlib
import struct

import gguf
import numpy as np

# Where the half-precision fields of a block lie.
HALF_FIELDS = {
    "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}
FORMATS = ["F32", "BF16", "MXFP4", *HALF_FIELDS]
QUANTIZABLE = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"]


def keep_finite(name: str, blocks: np.ndarray) -> None:
    """Clears the top exponent bit where a field would be infinite or no number."""
    for offset in HALF_FIELDS.get(name, []):
        halves = blocks[:, offset : offset + 2].copy().view(np.uint16)
        blocks[:, offset : offset + 2] = np.where(halves & 0x7C00 == 0x7C00, halves & 0xBFFF, halves).view(np.uint8)
    if name in ("F32", "BF16"):
        blocks[:, -1] &= 0xBF
    if name == "MXFP4":
        blocks[:, 0] = np.minimum(blocks[:, 0], 254)  # 255 is no number
        blocks[:4, 0] = [0, 1, 2, 254]  # subnormal scales and the largest


def make_blocks(name: str, count: int, random: np.random.Generator) -> np.ndarray:
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    keep_finite(name, blocks)
    if name in QUANTIZABLE:
        numbers = random.normal(0, 0.05, (count, elements)).astype(np.float32)
        blocks = np.concatenate([blocks, gguf.quants.quantize(numbers, kind).reshape(count, size)])
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=root / "tests/data/dequantize")
    parser.add_argument("--blocks", type=int, default=0, help="per format; 0: a few, for files of some kilobytes")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20240601)
    for name in FORMATS:
        kind = gguf.GGMLQuantizationType[name]
        elements = gguf.GGML_QUANT_SIZES[kind][0]
        blocks = make_blocks(name, arguments.blocks or max(4, min(256 // elements, 64)), random)
        # Products of the largest scales may exceed fp32: infinities are part of what is compared.
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = gguf.quants.dequantize(blocks.reshape(-1), kind).astype(np.float32).reshape(-1)
        content = struct.pack("<I", len(blocks)) + blocks.tobytes() + numbers.tobytes()
        (arguments.folder / f"{name.lower()}.bin").write_bytes(content)


if __name__ == "__main__":
    main()
