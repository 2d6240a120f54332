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
# # Compute-optimal search from nothing
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxreason/jaxreason/blob/main/notebooks/02_compute_optimal.ipynb)
#
# Snell et al., *Scaling LLM Test-Time Compute Optimally* (2024), from nothing: a policy of 160,000 parameters learns
# arithmetic modulo 100 from a careless teacher, verifiers learn to judge its steps, searches run on fresh questions, and the
# best strategy is chosen for every difficulty and budget. Two CPU cores are enough, nothing is downloaded, no login.
# Interrupted, it goes on where it stopped: run the cell again.

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

# %% tags=["parameters"]
RECIPE = 'nano'  # nano-full: tighter intervals, and a larger model; or the path of a recipe of your own
OUT = 'runs/nano'

# %%
import os

import jax

# Stages are processes side by side, one a core: they run on the CPU, whatever else there is. Models this small need no more.
print(f'jax {jax.__version__}: {jax.devices()}; {os.cpu_count()} CPU cores')

# %% [markdown]
# ## Run it
#
# The line shows what is at work; figures appear as their stages end. In this order:
#
# 1. **Accuracy against the number of solutions.** The paper: beam search is ahead at small budgets, and best-of-N catches up
#    or overtakes it at large ones; a vote without a verifier gains least.
# 2. **The same by difficulty**, a fifth of the questions each. The paper: beam search helps on hard questions, and on easy
#    ones with a large budget it exploits the verifier and loses to best-of-N.
# 3. **Compute-optimal**: per bin of difficulty the best strategy, chosen on other questions. The paper: as accurate as
#    best-of-N with up to four times less compute, and bins that are predicted do nearly as well as those of an oracle.

# %%
from IPython.display import HTML, Image, Markdown, display

import jaxreason as jr
from jaxreason.analysis.glance import accuracy_by_difficulty, accuracy_by_n, compute_optimal
from jaxreason.cli.reproduce_display import clock, line_of

SHOWN = ('majority', 'best-of-n', 'beam')
FIGURES = {
    'sweep': lambda folder: accuracy_by_n(folder('sweep'), SHOWN),
    'bins': lambda folder: accuracy_by_difficulty(folder('sweep'), folder('bins'), SHOWN),
    'fit': lambda folder: compute_optimal(folder('fit')),
}
status = display(Markdown('starting'), display_id=True)
pictures = {name: display(Markdown(''), display_id=True) for name in FIGURES}
drawn = set()


def show(progress, places):
    """Moves the status; draws what the stages that have ended can show."""
    lines = [f'{name}: {line_of(*state)}' for name, state in progress.running.items()]
    lines.append(f'{len(progress.finished)} of {len(places)} stages, about {clock(progress.seconds_left)} left')
    status.update(Markdown('\n'.join(f'- {line}' for line in lines)))
    for name, draw in FIGURES.items():
        if name not in drawn and {'sweep', name} <= progress.finished.keys():
            drawn.add(name)
            pictures[name].update(Image(draw(lambda stage: places[stage].folder), width=720))


places = jr.reproduce(RECIPE, out=OUT, report=show)

# %% [markdown]
# ## What was found
#
# In numbers: how many times less compute than weighted best-of-N the compute-optimal choice needs for the same accuracy.

# %%
import json
from pathlib import Path

numbers = json.loads(Path(OUT, 'metrics.json').read_text())
for name, told in (('oracle', 'bins by the answers, an upper bound'), ('predicted', 'bins by the verifier')):
    point, low, high = (numbers['saving'][name][end] for end in ('point', 'low', 'high'))
    shown = ['unknown' if value is None else f'{value:.1f}' for value in (point, low, high)]
    print(f'{shown[0]} times less [{shown[1]}, {shown[2]}], {told} (the paper: up to 4)')

# %% [markdown]
# The whole report, every finding beside the paper's, and where they disagree, why that may be:

# %%
import html

page = html.escape(Path(OUT, 'report.html').read_text(), quote=True)
HTML(f'<div><iframe srcdoc="{page}" sandbox width="100%" height="900" style="border:0"></iframe></div>')

# %% [markdown]
# Where the two differ, think of the verifier first: this one judges single operations of a world with exact rules, which is
# easier than reading mathematics, so a search that trusts it may have less to lose. To see it fail, train it for fewer
# steps: `jr.reproduce(RECIPE, out=OUT, overrides=['stages.prm.config.loop.steps=100'], report=show)` does that stage again with
# what depends on it, and nothing else.
