"""What a recipe would take, against numbers worked out by hand."""

import re
from pathlib import Path

import pytest

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError
from jaxreason.core.flops import decode_flops, forward_flops, muon_flops, prompt_flops, training_flops
from jaxreason.models.published import published
from jaxreason.pipeline.outlook import describe
from jaxreason.pipeline.placement import placed
from jaxreason.pipeline.recipe import Recipe, load_recipe, preset
from jaxreason.pipeline.run import check
from jaxreason.pipeline.work import Sampling, Training, work_of
from jaxreason.scale.chips import chip_named
from jaxreason.scale.roofline import PEAK_SHARE, compute_seconds, decode_seconds

PAPER = sorted((Path(__file__).resolve().parents[2] / 'configs/paper').glob('*.yaml'))
SMALL, LARGE = 'Qwen/Qwen2.5-0.5B-Instruct', 'Qwen/Qwen2.5-7B-Instruct'


def recipe(**stages):
    page = {'verb': 'report', 'config': {'search': 'a', 'difficulty': 'b', 'fit': 'c'}}
    return config_files.build(Recipe, {'stages': {**stages, 'page': page}, 'report': 'page'})


def evaluation(source=SMALL, **changes):
    config = {
        'model': {'source': source, 'dtype': 'bfloat16'},
        'data': {'source': 'math500'},
        'sampler': {'max_tokens': 1024},
        'strategies': {'majority': {'kind': 'majority', 'n': 8}},
    }
    return {'verb': 'evaluate', 'config': config | changes}


TRAINING = {
    'verb': 'train orm',
    'config': {
        'model': {'source': SMALL, 'remat': 'layers'},
        'labels': {'source': ['somewhere/labels']},
        'verifier': {'carry_bytes': 1000},
        'loop': {'steps': 10, 'batch': 32, 'length': 512, 'accumulate': 4},
    },
}


def work(made, name):
    return work_of(made, check(made, Path('nowhere'))[name])


def test_independent_samples():
    found = work(recipe(sweep=evaluation()), 'sweep')
    model = found.model
    # A known set is not read: 500 questions of 75 tokens, solutions of 300; a template takes 60 tokens and the beginning one.
    prompt = 1 + 75 + 60
    assert found.tokens == 500 * 8 * 300 and found.context == prompt + 150
    assert found.prefill == 500 * prompt_flops(model, prompt)
    assert found.decode == 500 * 8 * decode_flops(model, prompt, 0, 300)
    assert found.most == 500 * (prompt_flops(model, prompt) + 8 * decode_flops(model, prompt, 0, 1024))
    assert (found.score, found.about, found.flops) == (0, False, found.prefill + found.decode)


def test_a_limit_and_an_offset_are_minded():
    found = work(recipe(sweep=evaluation(data={'source': 'math500', 'limit': 30, 'offset': 480})), 'sweep')
    assert found.tokens == 20 * 8 * 300


def test_a_verifier_that_a_stage_trains_reads_every_solution():
    judged = {
        'verifiers': {'orm': {'source': 'stage:orm', 'dtype': 'bfloat16'}},
        'strategies': {'best': {'kind': 'best_of_n', 'n': 8, 'verifier': 'orm'}},
    }
    found = work(recipe(orm=TRAINING, sweep=evaluation(**judged)), 'sweep')
    decoder = published(SMALL)
    assert found.score == 500 * 8 * forward_flops(decoder, 0, 75 + 300, 0)
    assert found.beside == 2 * decoder.num_parameters + 1000


def test_revisions_have_prompts_of_their_own():
    chains = {'chain': {'kind': 'revision', 'chains': 2, 'length': 3, 'context': 1, 'vote': 'majority'}}
    found = work(recipe(sweep=evaluation(strategies=chains, n=[6])), 'sweep')
    first, later = 136, 136 + 300 + 60
    assert found.prefill == 500 * (prompt_flops(found.model, first) + 4 * prompt_flops(found.model, later))
    assert found.longest_prompt == 136 + 1024 + 60


def test_rollouts_of_labels():
    config = {
        'model': {'source': SMALL, 'dtype': 'bfloat16'},
        'data': {'source': 'math', 'split': 'train'},
        'sampler': {'max_tokens': 512, 'stats': []},
        'labels': {'samples': 2, 'rollouts': 3},
    }
    found = work(recipe(labels={'verb': 'label', 'config': config}), 'labels')
    rest = sum(300 - 30 * step for step in range(1, 10))  # ten steps of 30 tokens, nothing begins after the last
    assert found.tokens == 12_000 * (2 * 300 + 2 * 3 * rest)
    assert found.most > found.flops


def test_training_is_three_forward_passes_and_what_is_computed_again():
    found = work(recipe(orm=TRAINING), 'orm')
    model = published(SMALL)
    assert found.flops == found.most == 10 * 32 * training_flops(model, 512)
    assert found.recomputed * 3 == found.flops and found.portion == 8
    on = placed(found, chip_named('v5p'))
    assert on.chips == 1 and on.chip_seconds == pytest.approx(4 / 3 * found.flops / (459e12 * PEAK_SHARE))
    assert on.memory['weights'] == 4 * model.num_parameters
    assert on.memory['gradients, optimiser'] == 12 * model.num_parameters


def test_muon_adds_the_products_of_its_updates():
    config = {**TRAINING['config'], 'optimiser': {'kind': 'muon'}}
    muon, adamw = (work(recipe(orm=stage), 'orm') for stage in ({**TRAINING, 'config': config}, TRAINING))
    model = published(SMALL)
    assert muon.flops == adamw.flops + 10 * muon_flops(model)
    assert sum(adamw.memory.values()) - sum(muon.memory.values()) == 4 * model.layer_matmul_parameters


def test_what_one_chip_does_not_hold_takes_several():
    found = work(recipe(sweep=evaluation(LARGE)), 'sweep')
    chip = chip_named('v5e')
    on = placed(found, chip)
    assert on.chips == 2 and on.memory['weights'] == published(LARGE).num_parameters * 2 // 2 and not on.rows % 4
    assert sum(on.memory.values()) <= 0.9 * 16e9
    drawn = 2 * decode_seconds(found.model, found.tokens, on.rows, found.context, chip, 2)
    assert on.chip_seconds == pytest.approx(drawn + compute_seconds(found.prefill, chip))
    assert placed(found, chip_named('h100')).chips == 1


def test_nothing_holds_it():
    huge = TRAINING | {'config': TRAINING['config'] | {'model': {'source': 'Qwen/Qwen2.5-14B'}}}
    made = recipe(orm=huge)
    assert placed(work(made, 'orm'), chip_named('v5e')) is None  # 8 rows a portion: no more than 8 chips can share it
    text = describe(made, check(made, Path('nowhere')), 'v5e')
    assert re.search(r'\norm .* > 8\n', text)


def test_more_chips_take_less_time_and_too_few_are_said():
    made = recipe(sweep=evaluation(LARGE))
    places = check(made, Path('nowhere'))
    assert re.search(r'\nsweep .* needs 2 ', describe(made, places, 'v5e', 1))
    seven = describe(made, places, 'v5e', 7).splitlines()[1].split()
    two = describe(made, places, 'v5e').splitlines()[1].split()
    assert (seven[-5], two[-5]) == ('6', '2') and seven[-2] == two[-2]


def test_the_preset_without_a_chip(tmp_path):
    made = load_recipe(preset('nano'))
    places = check(made, tmp_path)
    policy = places['policy']
    policy.folder.mkdir(parents=True)
    policy.mark_finished(90.0)
    lines = describe(made, places).splitlines()
    assert lines[0].split() == ['stage', 'verb', 'digest', 'state', 'FLOPs', 'at', 'most']
    assert [line.split()[0] for line in lines[1 : len(places) + 1]] == list(places)
    assert re.fullmatch(rf'policy +train sft +{policy.digest[:8]}  finished, 1\.5 min .*', lines[1])
    assert 'chip-hours' not in lines[0] and not any('published size' in line for line in lines)


@pytest.mark.parametrize('path', PAPER, ids=lambda path: path.stem)
def test_the_recipes_of_the_paper_fit_and_every_assumption_is_said(path):
    made = load_recipe(path)
    places = check(made, Path('nowhere'))
    kinds = {name: type(work_of(made, place)) for name, place in places.items()}
    assert kinds['labels'] is kinds['larger'] is Sampling and kinds['prm'] is kinds['revision'] is Training
    text = describe(made, places, 'v5e')
    assert ' > ' not in text.partition('\n\n')[0] and '~' in text
    assert all(word in text for word in ('TPU v5e', '40%', '60%', '12,000 problems (published size', 'solutions of 300 tokens'))
    total = next(line for line in text.splitlines() if line.startswith('all ')).split()
    assert 50 < float(total[-1].replace(',', '')) < 2000  # chip-hours


def test_what_cannot_be_known_is_refused():
    with pytest.raises(ConfigError, match=r'neither files nor an architecture are known; .* Qwen/Qwen2.5-7B'):
        work(recipe(sweep=evaluation('Qwen/Qwen2.5-9B')), 'sweep')
    with pytest.raises(ConfigError, match='trains no model'):
        work(recipe(sweep=evaluation(), again=evaluation('stage:sweep')), 'again')
    with pytest.raises(ConfigError, match='data.split must be one of train, test for math'):
        work(recipe(sweep=evaluation(data={'source': 'math', 'split': 'dev'})), 'sweep')
    made = recipe(sweep=evaluation())
    for chip, chips in ((None, 4), ('v5e', 0)):
        with pytest.raises(ConfigError, match='--chips needs'):
            describe(made, check(made, Path('nowhere')), chip, chips)
