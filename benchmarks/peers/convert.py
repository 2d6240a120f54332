"""Writes the weights in the forms that the peers read, all from the one GGUF file of the preset.

    python benchmarks/peers/convert.py FOLDER [--gguf BF16 Q4_0 ...]

makes FOLDER/bf16.gguf, FOLDER/q4_0.gguf, ... and FOLDER/hugging_face (bfloat16 safetensors without a tokenizer). Those of 16
bits hold equal weights; fewer bits are quantised from them, and are another model by as much.
"""

import argparse
from pathlib import Path

import gguf
import numpy as np

from jaxreason.models.fetch import resolve


def write_gguf(source: Path, target: Path, kind: gguf.GGMLQuantizationType) -> None:
    """The same model with its matrices stored as `kind`; vectors stay as they are."""
    reader = gguf.GGUFReader(source)
    scratch = target.with_suffix('.part')
    writer = gguf.GGUFWriter(scratch, reader.fields['general.architecture'].contents())
    for name, field in reader.fields.items():
        if not name.startswith('GGUF.') and name not in ('general.architecture', 'general.file_type'):
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape([int(size) for size in reversed(tensor.shape)])
        stored = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    scratch.rename(target)


def write_hugging_face(source: Path, target: Path) -> None:
    """A folder that transformers and vLLM load."""
    from jaxreason.models.folder import read_checkpoint
    from jaxreason.models.folder_writer import write_folder

    checkpoint = read_checkpoint(source, 'bfloat16')
    write_folder(target, checkpoint.config, checkpoint.parameters, eos_ids=checkpoint.eos_ids, bos_id=checkpoint.bos_id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--model', default='smollm2-135m')
    parser.add_argument('--gguf', nargs='*', default=['BF16', 'Q4_0'])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    source = resolve(args.model)
    for name in args.gguf:
        target = args.folder / f'{name.lower()}.gguf'
        if not target.exists():
            write_gguf(source, target, gguf.GGMLQuantizationType[name])
    if not (args.folder / 'hugging_face').exists():
        write_hugging_face(source, args.folder / 'hugging_face')


if __name__ == '__main__':
    main()
