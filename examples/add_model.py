"""A model that is not supported: IBM's Granite 3 is a Llama with four multipliers, which can be put into its weights."""

import json
import sys
from pathlib import Path

import jaxreason as jr
from jaxreason.core.architecture import ModelConfig
from jaxreason.models.folder_writer import write_folder
from jaxreason.models.hugging_face import to_parameters
from jaxreason.models.safetensors_file import SafetensorsFile
from jaxreason.models.tokenizer_writer import folder_files

source, target = map(Path, sys.argv[1:3])  # a folder of the Hugging Face hub, and the one to write
told = json.loads((source / 'config.json').read_text())
config = ModelConfig.from_hugging_face({**told, 'model_type': 'llama', 'tie_word_embeddings': False})
files = [SafetensorsFile.open(path) for path in sorted(source.glob('*.safetensors'))]
tensors = {name: file.tensor(name).astype('float32') for file in files for name in file.tensors}
tensors['lm_head.weight'] = tensors.get('lm_head.weight', tensors['model.embed_tokens.weight']) / told['logits_scaling']
factors = {
    'embed_tokens': told['embedding_multiplier'],
    'q_proj': told['attention_multiplier'] * config.head_width**0.5,  # where a Llama divides by that root
    'o_proj': told['residual_multiplier'],
    'down_proj': told['residual_multiplier'],
}
scaled = {name: tensor * factors.get(name.split('.')[-2], 1) for name, tensor in tensors.items()}
write_folder(target, config, to_parameters(config, scaled), eos_ids=[told['eos_token_id']])
for name, text in folder_files(source).items():
    (target / name).write_text(text)
print(jr.load(target).logits([[1, 2, 3]])[0, -1])
