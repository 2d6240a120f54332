import csv

import pytest
from harness import figure, results
from harness.contestants import Run
from harness.results import Entry
from harness.roofline import Machine, bound_seconds
from harness.workloads import workloads

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.flops import decode_flops, prompt_flops

CONFIG = ModelConfig(
    vocab_size=64, num_layers=2, width=32, mlp_width=64, num_heads=2, num_kv_heads=1, head_width=16, max_positions=512
)


def run(seconds, foreign=0.0):
    return Run(seconds, 100, 2**30, 1.5, foreign, (1, 2))


@pytest.fixture
def entries():
    ours = Entry('jaxreason', 'a', 'bfloat16', 200.0, (run(1.0), run(2.0), run(0.8)))
    peer = Entry('llama.cpp', 'a', 'bfloat16', 200.0, (run(2.0, 0.5), run(2.0)))
    return [ours, peer, Entry('vllm', 'a', 'bfloat16', 200.0, failure='vllm: cannot be run')]


def test_median_range_and_noise(entries):
    assert (entries[0].median, entries[0].rates) == (100.0, [50.0, 100.0, 125.0])
    assert [entry.noisy for entry in entries] == [0, 1, 0]


def test_table_says_ratio_noise_and_failure(entries):
    lines = results.text_table(entries).splitlines()
    assert '100 tokens/s (50..125),  50 % of 200' in lines[0]
    assert '2.00x, 1 of 2 runs not alone' in lines[1]
    assert lines[2].endswith('vllm: cannot be run')


def test_markdown_has_a_cell_for_everybody(entries):
    facts = {'processor': 'a processor', 'cores': '2', 'memory': '8 GiB'}
    lines = results.markdown(entries, {'a': '1 sequence'}, facts, 'jax 0', 3).splitlines()
    assert lines[2] == '| jaxreason, bfloat16 | 100 (50..125), 50 % |'
    assert lines[4] == '| vllm, bfloat16 | failed |' and '2 cores, 8 GiB' in lines[-1]


def test_figure_and_its_numbers(entries, tmp_path):
    figure.save(entries, {'a': '1 sequence'}, 'caption', tmp_path / 'rates.png')
    assert (tmp_path / 'rates.png').read_bytes().startswith(b'\x89PNG')
    rows = list(csv.DictReader((tmp_path / 'rates.csv').open()))
    assert [(row['contestant'], row['median']) for row in rows] == [('jaxreason', '100.0'), ('llama.cpp', '50.0')]


def test_bound_is_reading_where_rows_are_few_and_arithmetic_where_many():
    work = workloads(str.split)
    fast = {'float32': {'large': 1e30}, 'bfloat16': {'large': 1e30}}
    reading = bound_seconds(work['a'], CONFIG, Machine(1e6, fast), 'bfloat16')
    assert reading == pytest.approx(129 * CONFIG.matmul_parameters * 2 / 1e6)  # the prompt, then 128 steps
    slow = Machine(1e30, {'float32': {'large': 1e9}, 'bfloat16': {'large': 1e9}})
    flops = 8 * prompt_flops(CONFIG, 128) + 64 * decode_flops(CONFIG, 128, 0, 128)
    assert bound_seconds(work['c'], CONFIG, slow, 'Q4_0') == pytest.approx(flops / 1e9)


def test_uneven_rows_are_counted_while_they_live():
    work = workloads(str.split)['d']
    slow = Machine(1e30, {'float32': {'large': 1e9}, 'bfloat16': {'large': 1e9}})
    flops = sum(prompt_flops(CONFIG, len(prompt)) for prompt in work.prompts)
    flops += sum(decode_flops(CONFIG, len(work.prompts[prompt]), 0, target) for prompt, target in work.rows)
    assert bound_seconds(work, CONFIG, slow, 'float32') == pytest.approx(flops / 1e9)
