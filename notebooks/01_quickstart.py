# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     notebook_metadata_filter: kernelspec,jupytext
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # jaxreason: more right answers from the same model
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxreason/jaxreason/blob/main/notebooks/01_quickstart.ipynb)
#
# A question is solved by search, its tree drawn, its FLOPs counted; then a few questions are answered with 1, 4 and 16
# solutions. The model is SmolLM2-135M-Instruct (4-bit weights, 93 MB, no login). Two CPU cores are enough.

# %% tags=["install"]
import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = 'jaxreason @ git+https://github.com/jaxreason/jaxreason'

if importlib.util.find_spec('jaxreason') is None:
    # A JAX that is there already, and what belongs to it, stays as it is: it fits the machine's accelerator.
    names = {each.metadata['Name'] for each in importlib.metadata.distributions()}
    present = sorted(name for name in names if name and name.startswith(('jax', 'libtpu')))
    pins = [f'{name}=={importlib.metadata.version(name)}' for name in present]
    if 'jax' in present and tuple(map(int, importlib.metadata.version('jax').split('.')[:2])) != (0, 10):
        raise SystemExit(f'jaxreason needs jax 0.10, here is {importlib.metadata.version("jax")}: install another jax first.')
    constraints = Path(tempfile.mkdtemp()) / 'constraints.txt'
    constraints.write_text('\n'.join(pins))
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--constraint', str(constraints), SOURCE], check=True)

# %%
import jax

try:
    jax.devices()
except RuntimeError as error:
    print(f'no accelerator to be had ({str(error).splitlines()[0]}): JAX_PLATFORMS=cpu')
    jax.config.update('jax_platforms', 'cpu')
print(f'jax {jax.__version__} on {", ".join(device.device_kind for device in jax.devices())}')

# %% tags=["parameters"]
MODEL = 'smollm2-135m'  # or a folder in Hugging Face's format, or a GGUF file
QUESTIONS = 16

# %% [markdown]
# ## One question
#
# Beam search: of 8 beginnings the 4 that the model is surest of (self-certainty, no second model) go on, step by step.

# %%
import jaxreason as jr

prompt = jr.PromptSpec(few_shot=1, answer_format='plain', step_delimiter='\n')
sampler = jr.Sampler(jr.load(MODEL, dtype='bfloat16'), prompt=prompt, temperature=0.8, max_tokens=96)
strategy = jr.BeamSearch(n=8, beam_width=2)
(outcome,) = strategy.solve(['Anna has 5 apples. She buys 3 more. How many apples does she have?'], sampler, jr.SelfCertainty())
print(outcome.answer)

# %% [markdown]
# Its tree: a line a step with its score; a fork hangs from the step after which it left its parent; `left` is what was given
# up.

# %%
from jaxreason.analysis.tree import tree_lines

print('\n'.join(line.text for line in tree_lines(outcome, width=120)))

# %% [markdown]
# How the solutions voted, weighted by their scores, and what was spent: exact FLOPs, without padding.

# %%
for answer, weight in outcome.votes:
    print(f'{weight:8.2f}  {answer}')
cost = outcome.cost
print(f'\n{cost.flops / 1e9:.1f} GFLOPs: prompt {cost.prefill / 1e9:.1f}, solutions {cost.decode / 1e9:.1f}, of which')
print(f'{cost.discarded / 1e9:.1f} for what was given up; {cost.new_tokens} tokens written')

# %% [markdown]
# ## A few questions, 1, 4 and 16 solutions each
#
# Word problems of one step. All strategies vote on the same samples; a killed run goes on where it stopped.

# %%
from IPython.display import Image, display

from jaxreason.analysis.glance import accuracy_by_n
from jaxreason.analysis.metrics import write_metrics
from jaxreason.core.config import build
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.runner import evaluate

config = build(
    EvaluateConfig,
    {
        'model': {'source': MODEL, 'dtype': 'bfloat16'},
        'data': {'source': 'basic', 'levels': ['1'], 'offset': 42, 'limit': QUESTIONS},
        'prompt': {'few_shot': 1, 'answer_format': 'plain', 'step_delimiter': '\n'},
        'sampler': {'temperature': 0.3, 'max_tokens': 96},
        'strategies': {
            'majority': {'kind': 'majority', 'n': 16},
            'best_of_n, log-prob': {'kind': 'best_of_n', 'n': 16, 'verifier': 'mean_logprob'},
        },
        'n': [1, 4, 16],
    },
)
status = display('', display_id=True)
out = Path('runs/notebook_quickstart')
evaluate(
    config, out, lambda progress: status.update(f'{progress.done} of {progress.total} questions, {progress.tokens:,} tokens')
)
metrics = write_metrics(out).metrics
display(Image(accuracy_by_n(out), width=720))

# %% [markdown]
# The dashed curve says how often any of the solutions is right: what a perfect verifier would make of them. The bands are 95 %
# intervals over questions: few questions say little. FLOPs per question, and tokens written:

# %%
for row in metrics['rows']:
    low, high = row['accuracy']['low'], row['accuracy']['high']
    interval = '' if low is None else f' [{100 * low:.0f}, {100 * high:.0f}]'
    words = f'{row["strategy"]:20} n = {row["n"]:2}  {100 * row["accuracy"]["point"]:5.1f} %{interval}'
    print(f'{words:52}{row["flops"]["total"] / 1e9:7.0f} GFLOPs {row["tokens"]["new"]:6.0f} tokens')

# %% [markdown]
# Next: [compute-optimal search from nothing](02_compute_optimal.ipynb), where verifiers are trained and the best strategy is
# chosen for every difficulty. The command for what was shown here is `jaxreason solve "..." --show-tree`.
