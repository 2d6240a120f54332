"""Whole runs in this process: the same bytes from the same seed, stopped and resumed or not."""

import json
import shutil

import pytest

from jaxreason.analysis.metrics import write_metrics
from jaxreason.core.errors import ConfigError, DataError, RunError, TokenizerError, WeightsError
from jaxreason.core.records import pool_from, to_line
from jaxreason.core.yaml_text import read as read_tree
from jaxreason.data.grading import grade
from jaxreason.engine import memory
from jaxreason.evaluate import runner
from jaxreason.evaluate.journal import Journal
from jaxreason.evaluate.runner import JOURNAL, evaluate
from tests.evaluate.command import num_lines, results
from tests.evaluate.tiny_world import IDS, PROBLEMS, read_config, read_lines

# Three questions, one under two budgets beside the pool: units of every sort.
SMALL = ('data.limit=3', 'seeds=[7]', 'budgets=[{}, {tokens: 12}]', 'strategies.greedy.kind=greedy')


def finish(config, out, report=lambda progress: None):
    evaluate(config, out, report)
    write_metrics(out)
    return results(out)


@pytest.fixture(scope='module')
def small(world, tmp_path_factory):
    """Configuration, results and number of ticks of a run that nobody interrupted."""
    config, ticks = read_config(world, *SMALL), []
    out = tmp_path_factory.mktemp('small') / 'run'
    return config, finish(config, out, ticks.append), ticks


def test_the_same_seed_gives_the_same_bytes(small, tmp_path):
    config, expected, _ = small
    assert finish(config, tmp_path / 'run') == expected


def test_another_seed_gives_other_samples(small, world, tmp_path):
    config = read_config(world, *SMALL, 'seeds=[8]')
    assert finish(config, tmp_path / 'run')['pools/samples.jsonl'] != small[1]['pools/samples.jsonl']


class Stop(Exception):
    pass


def stop_at(tick):
    left = [tick]

    def report(progress):
        left[0] -= 1
        if not left[0]:
            raise Stop

    return report


@pytest.mark.parametrize('share', [0.0, 0.15, 0.4, 0.7, 0.97])
def test_a_run_stopped_anywhere_and_resumed_gives_the_same_bytes(small, tmp_path, share):
    config, expected, ticks = small
    with pytest.raises(Stop):
        evaluate(config, tmp_path / 'run', stop_at(1 + int(share * len(ticks))))
    before = (tmp_path / 'run' / JOURNAL).read_bytes()
    assert finish(config, tmp_path / 'run') == expected
    assert (tmp_path / 'run' / JOURNAL).read_bytes().startswith(before), 'what was finished is not done again'


def test_a_run_stopped_again_and_again_gives_the_same_bytes(small, tmp_path):
    config, expected, _ = small
    for _ in range(100):
        try:
            evaluate(config, tmp_path / 'run', stop_at(12))
            break
        except Stop:
            continue
    assert finish(config, tmp_path / 'run') == expected


@pytest.mark.slow
def test_a_run_stopped_at_every_tick_gives_the_same_bytes(small, tmp_path):
    config, expected, ticks = small
    for tick in range(1, len(ticks) + 1):
        with pytest.raises(Stop):
            evaluate(config, tmp_path / f'{tick}', stop_at(tick))
        assert finish(config, tmp_path / f'{tick}') == expected, f'stopped at tick {tick}'
        shutil.rmtree(tmp_path / f'{tick}')


def test_a_torn_journal_redoes_one_unit(small, tmp_path):
    config, expected, _ = small
    finish(config, tmp_path / 'run')
    journal = tmp_path / 'run' / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b''.join(lines[:-1]) + lines[-1][:40])
    done = []
    assert finish(config, tmp_path / 'run', lambda progress: done.append(progress.finished)) == expected
    assert sum(finished is not None for finished in done) == 1


def test_progress_counts_earlier_sessions_and_ends_at_the_total(small, tmp_path):
    config, _, ticks = small
    assert [progress.done for progress in ticks if progress.finished] == list(range(1, ticks[-1].total + 1))
    with pytest.raises(Stop):
        evaluate(config, tmp_path / 'run', stop_at(len(ticks) // 2))
    seen = []
    evaluate(config, tmp_path / 'run', seen.append)
    assert seen[0].done > 0 and seen[-1].done == seen[-1].total == ticks[-1].total


def test_a_finished_unit_reads_its_strategies_at_their_largest_n(small):
    _, files, ticks = small
    lines = files['records.jsonl'].decode().splitlines()
    for progress in ticks:
        if progress.finished:
            shown = list(progress.finished.read())
            assert {to_line(record) for record in shown} <= set(lines)
            mine = [line for line in map(json.loads, lines) if is_of(line, shown[0])]
            assert {r.strategy: r.n for r in shown} == {r['strategy']: r['n'] for r in sorted(mine, key=lambda r: r['n'])}


def is_of(line, record):
    return all(line[name] == getattr(record, name) for name in ('question_id', 'seed', 'pool', 'budget'))


def test_when_all_is_done_no_model_is_loaded(small, tmp_path, monkeypatch):
    config, expected, _ = small
    finish(config, tmp_path / 'run')

    def no_model(*args, **kwargs):
        raise AssertionError('a model was loaded')

    monkeypatch.setattr(runner, 'load_policy', no_model)
    assert finish(config, tmp_path / 'run') == expected


def test_shapes_do_not_depend_on_what_is_missing(world, tmp_path, monkeypatch):
    """A resumed run of one short question must run the programs that it was begun with."""
    rooms = []

    def spied(tasks, session, *args, **kwargs):
        yield from drive(tasks, session, *args, **kwargs)
        rooms.append((session._cache.prompt_room, session._cache.row_room))

    drive = runner.drive
    monkeypatch.setattr(runner, 'drive', spied)
    rows = [{'id': 'long', 'question': 'a' * 100, 'answer': '1'}, {'id': 'short', 'question': '1+1 = ?', 'answer': '2'}]
    problems = tmp_path / 'problems.jsonl'
    problems.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    config = read_config(world, f'data.source={json.dumps(str(problems))}', 'seeds=[0]')

    def when_the_long_one_is_done(progress):
        if progress.done == 2:
            raise Stop

    with pytest.raises(Stop):
        evaluate(config, tmp_path / 'run', when_the_long_one_is_done)
    assert {pool['entry']['question_id'] for pool in read_lines(tmp_path / 'run' / JOURNAL)} == {'long'}
    shapes = json.loads((tmp_path / 'run/environment.json').read_text())['shapes']
    assert shapes == {'num_rows': 4, 'num_slots': 2, 'prompt_room': 128, 'row_room': 64}
    evaluate(config, tmp_path / 'run')
    assert rooms == [(shapes['prompt_room'], shapes['row_room'])]


def test_records_refer_to_pools_and_are_sorted(small):
    _, files, _ = small
    records = [json.loads(line) for line in files['records.jsonl'].splitlines()]
    keys = [(r['question_id'], r['strategy'], r['n'], sorted(r['budget'].items()), r['seed']) for r in records]
    assert keys == sorted(keys) and len({json.dumps(key) for key in keys}) == len(keys)
    pools = {name.removeprefix('pools/').removesuffix('.jsonl') for name in files if name.startswith('pools/')}
    assert {record['pool'] for record in records} == pools
    assert pools >= {'samples', 'greedy.n1', 'majority.n4.tokens12'} and len(pools) == 5
    assert b'seconds' not in files['records.jsonl'] and b'at_' not in files['pools/samples.jsonl']


def test_a_budget_in_the_configuration_is_kept(small):
    _, files, _ = small
    records = [json.loads(line) for line in files['records.jsonl'].splitlines()]
    limited = [record for record in records if record['budget']]
    assert len(limited) == 3 * 3 and all(block['cost']['new_tokens'] <= 12 for r in limited for block in r['blocks'])
    free = [record for record in records if not record['budget'] and record['n'] == 4]
    assert any(block['cost']['new_tokens'] > 12 for record in free for block in record['blocks'])


def test_verdicts_and_gold_are_those_of_the_problem_file(small):
    _, files, _ = small
    gold = dict(zip(IDS, (answer for _, answer in PROBLEMS), strict=True))
    pools = [pool_from(json.loads(line)) for line in files['pools/samples.jsonl'].splitlines()]
    assert {pool.question_id for pool in pools} == set(IDS[:3])
    for pool in pools:
        assert pool.gold == gold[pool.question_id]
        assert [c.verdict for c in pool.candidates] == [grade(pool.gold, c.text).value for c in pool.candidates]
    assert any(c.answer is not None for pool in pools for c in pool.candidates), 'the tiny policy names answers'


def test_several_seeds_are_several_runs_side_by_side(small, world, tmp_path):
    config = read_config(world, *SMALL, 'seeds=[7, 8]', 'budgets=[{}]')
    files = finish(config, tmp_path / 'run')
    both = [json.loads(line) for line in files['pools/samples.jsonl'].splitlines()]
    alone = [json.loads(line) for line in small[1]['pools/samples.jsonl'].splitlines()]
    assert [pool for pool in both if pool['seed'] == 7] == alone
    assert len(both) == 2 * len(alone)


def test_changed_problems_are_refused_even_when_all_is_done(world, tmp_path):
    problems = tmp_path / 'problems.jsonl'
    problems.write_text('{"id": "a", "question": "1+1 = ?", "answer": "2"}\n')
    config = read_config(world, f'data.source={json.dumps(str(problems))}', 'seeds=[0]')
    evaluate(config, tmp_path / 'run')
    problems.write_text('{"id": "a", "question": "1+1 = ?", "answer": "3"}\n')
    with pytest.raises(RunError, match='data was'):
        evaluate(config, tmp_path / 'run')


def test_changed_weights_are_refused_on_resuming(small, world, tmp_path):
    config, _, _ = small
    with pytest.raises(Stop):
        evaluate(config, tmp_path / 'run', stop_at(20))
    file = tmp_path / 'run/environment.json'
    file.write_text(file.read_text().replace('"weights": "', '"weights": "0'))
    with pytest.raises(RunError, match='weights was'):
        evaluate(config, tmp_path / 'run')


def test_entries_of_another_version_are_refused(small, tmp_path):
    config, _, _ = small
    finish(config, tmp_path / 'run')
    journal = tmp_path / 'run' / JOURNAL
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    journal.unlink()
    written = Journal(journal)
    for line in lines:
        written.append(line['key'], {'renamed': line['entry']})
    written.close()
    with pytest.raises(RunError, match='another version'):
        evaluate(config, tmp_path / 'run')


def test_no_secret_of_the_process_lands_in_the_folder(world, tmp_path, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'hf_verysecret')
    monkeypatch.setenv('SOME_KEY', 'sk-verysecret')
    finish(read_config(world, 'data.limit=1', 'seeds=[0]'), tmp_path / 'run')
    files = [path for path in (tmp_path / 'run').rglob('*') if path.is_file()]
    assert len(files) > 5 and not any(b'verysecret' in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    ('spoil', 'error'),
    [
        (lambda model: (model / 'tokenizer.json').unlink(), TokenizerError),
        (
            lambda model: (model / 'model.safetensors').write_bytes((model / 'model.safetensors').read_bytes()[:-9]),
            WeightsError,
        ),
        (lambda model: (model / 'model.safetensors').unlink(), WeightsError),
        (lambda model: shutil.rmtree(model), WeightsError),
    ],
)
def test_damaged_models_are_refused_and_the_mended_command_works(world, tmp_path, spoil, error):
    model = tmp_path / 'model'
    shutil.copytree(world.parent / 'model', model)
    spoil(model)
    few = ('data.limit=1', 'seeds=[0]')
    with pytest.raises(error):
        evaluate(read_config(world, f'model.source={json.dumps(str(model))}', *few), tmp_path / 'run')
    evaluate(read_config(world, *few), tmp_path / 'run')
    assert (tmp_path / 'run/records.jsonl').exists()


@pytest.mark.parametrize(
    ('override', 'error', 'message'),
    [
        ('model.mesh={data: 3}', ConfigError, 'needs 3 devices'),
        ('model.mesh={rows: 8}', ConfigError, 'axes'),
        ('sampler.max_tokens=300', ConfigError, 'context'),
        ('data.source=nothing.jsonl', DataError, 'nothing.jsonl'),
    ],
)
def test_what_does_not_fit_is_refused(world, tmp_path, override, error, message):
    with pytest.raises(error, match=message):
        evaluate(read_config(world, override), tmp_path / 'run')


AUTO = (*SMALL, 'sampler.num_rows=auto')


def sampler_of(out):
    """The sampler's settings in the configuration that a run wrote down."""
    return read_tree(out / 'config.yaml')[0]['sampler']


def test_the_rows_that_a_run_chose_are_written_down_and_kept_whatever_memory_there_is_later(world, tmp_path, monkeypatch):
    config = read_config(world, *AUTO)
    expected = finish(config, tmp_path / 'whole')
    # Three questions, each with 14 rows: 4 of the pool, 4 + 4 under a budget, greedy twice.
    assert sampler_of(tmp_path / 'whole')['num_rows'] == 48
    environment = json.loads((tmp_path / 'whole/environment.json').read_text())
    assert environment['shapes']['num_rows'] == 48 and sampler_of(tmp_path / 'whole')['buckets'][:2] == [64, 128]
    out = tmp_path / 'run'
    with pytest.raises(Stop):
        evaluate(config, out, stop_at(5))
    assert num_lines(out / JOURNAL) > 0
    said = []
    monkeypatch.setattr(memory, 'host_memory', lambda: 1)
    evaluate(config, out, say=said.append)
    write_metrics(out)
    assert results(out) == expected and not any('rows in slots' in line for line in said)
    evaluate(read_config(world, *SMALL, 'sampler.num_rows=48'), out)  # the number by name is the same run
    with pytest.raises(RunError, match='"num_rows: 48", now "num_rows: 8"'):
        evaluate(read_config(world, *SMALL, 'sampler.num_rows=8'), out)
    with pytest.raises(RunError, match='"rows_per_slot: 2", now "rows_per_slot: 1"'):
        evaluate(read_config(world, *AUTO, 'sampler.rows_per_slot=1'), out)
    with pytest.raises(ConfigError, match='raise sampler.memory_limit'):
        evaluate(config, tmp_path / 'new')
    assert not num_lines(tmp_path / 'new' / JOURNAL)


def test_a_slot_has_no_more_rows_than_a_question(world, tmp_path):
    one = '{greedy: {kind: greedy}}'
    evaluate(read_config(world, 'seeds=[0]', 'sampler={max_tokens: 10}', f'strategies={one}'), tmp_path / 'run')
    assert (sampler_of(tmp_path / 'run')['num_rows'], sampler_of(tmp_path / 'run')['rows_per_slot']) == (8, 1)


def test_compilations_are_written_beside_the_times(world, tmp_path):
    for name in ('first', 'second'):
        evaluate(read_config(world, 'data.limit=2', 'seeds=[0]', 'sampler.chunk=5'), tmp_path / name)
    first, second = (read_lines(tmp_path / name / 'timing.jsonl')[-1] for name in ('first', 'second'))
    assert first['programs'] > 0 and first['compile_seconds'] > 0
    assert second['programs'] == 0 and second['compile_seconds'] == 0
