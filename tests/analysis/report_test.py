"""The report: everything that a model wrote stays text, long things are shortened and say so, damage is named."""

import dataclasses
import html.parser
import json
import subprocess
import sys

import pytest

from jaxreason.analysis import page, report
from jaxreason.analysis.report import write_report
from jaxreason.analysis.run_folder import read_run
from jaxreason.core.errors import RunError
from jaxreason.core.records import to_line
from tests.analysis.conftest import write_run

HOSTILE = '</pre><script>alert(1)</script><img src=x onerror=y> \x00\x1b[31m \u202e "&amp;'


class Reader(html.parser.HTMLParser):
    """Collects tags, addresses and text; checks that tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str | None] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ('src', 'href', 'srcset', 'action')]
        assert not any(name.startswith('on') for name, _ in attrs)
        if tag not in ('meta', 'img', 'source', 'br'):
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return '\n'.join(self.words)


@pytest.fixture(scope='module')
def written(run_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp('report') / 'deep' / 'report.html'
    write_report([run_folder], path)
    return path.read_text(encoding='utf-8')


def test_the_page_is_whole_and_asks_nobody(written):
    reader = Reader(written)
    assert 'script' not in reader.tags and 'link' not in reader.tags
    assert len(reader.addresses) == 12 and all(
        (address or '').startswith('data:image/png;base64,') for address in reader.addresses
    )
    assert "default-src 'none'" in written and 'prefers-color-scheme: dark' in written and 'width=device-width' in written


def test_the_page_tells_the_numbers_their_basis_and_the_samples(written):
    text = Reader(written).text
    for part in ('majority', 'best_of_n', '40 questions, 2 seeds', 'model nano', 'commit a7c86be012+,', 'What is 7 + 7?'):
        assert part in text
    for part in (
        '/16 samples correct',
        'First we add.',
        '8 more samples are in the run folder.',
        'prefill',
        'unjudged',
        '0.10.2',
    ):
        assert part in text
    assert 'Then <b>7</b> & so on.' in text  # as the model wrote it, not as markup
    assert 'b' not in Reader(written).tags


@pytest.mark.filterwarnings('ignore:Glyph')  # the figure shows a box for what its font lacks
def test_hostile_text_stays_text(run, tmp_path):
    records, pools = run
    bad_candidate = dataclasses.replace(pools[0].candidates[0], text=HOSTILE, answer=HOSTILE, scores={HOSTILE: (0.5,)})
    bad_pool = dataclasses.replace(pools[0], question=HOSTILE, gold=HOSTILE, candidates=(bad_candidate,))
    folder = tmp_path / '<script>'
    (folder / 'pools').mkdir(parents=True)
    bad_records = [
        dataclasses.replace(
            r, strategy=HOSTILE, votes=((HOSTILE, 1.0),), blocks=(dataclasses.replace(r.blocks[0], answer=HOSTILE),)
        )
        for r in records
    ]
    (folder / 'records.jsonl').write_text('\n'.join(to_line(r) for r in bad_records if r.question_id == pools[0].question_id))
    (folder / 'pools' / 'samples.jsonl').write_text(to_line(bad_pool).replace('alert(1)', '\\ud800'))
    (folder / 'config.yaml').write_text(f'strategies: {json.dumps({"x" + HOSTILE: 1})}', encoding='utf-8')
    (folder / 'environment.json').write_text(json.dumps({'commit': HOSTILE}))
    write_report([folder], tmp_path / 'report.html')
    text = (tmp_path / 'report.html').read_text(encoding='utf-8')
    assert not {'script', 'b'} & Reader(text).tags
    assert '<script' not in text and '\x00' not in text and '\x1b' not in text
    assert '\ufffd[31m' in Reader(text).text


def test_the_health_of_verifiers_is_a_section(written):
    text = Reader(written).text
    for part in ('Verifier health', 'solutions scored', 'expected calibration error', 'single best right, %', 'over majority'):
        assert part in text
    assert 'Empty answers' not in text  # nobody asked


def test_empty_answers_are_shown_where_they_were_scored(run, tmp_path):
    records, pools = run
    write_run(tmp_path / 'run', records, pools)
    found = {'blank': {'scores': [0.875, None], 'unscored': {'text': 1}}}
    told = {'questions': [pools[0].question_id, pools[2].question_id], 'verifiers': {'prm': found}}
    (tmp_path / 'run' / 'verifier_probes.json').write_text(json.dumps(told))
    write_report([tmp_path / 'run'], tmp_path / 'report.html')
    text = Reader((tmp_path / 'report.html').read_text(encoding='utf-8')).text
    assert 'Empty answers' in text and '0.875' in text and '1 text' in text


def test_a_long_run_is_shortened_and_says_so(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(report, 'MAX_QUESTIONS', 3)
    monkeypatch.setattr(report, 'MAX_CHARACTERS', 10)
    write_report([run_folder], tmp_path / 'report.html')
    text = Reader((tmp_path / 'report.html').read_text(encoding='utf-8')).text
    assert 'The first 3 of 40 are shown.' in text and 'more characters)' in text
    assert 'What is 3 + 3?' not in text


def test_the_pools_of_a_sweep_are_folded(run, run_folder, written, tmp_path):
    assert 'pools of samples' not in written
    records, pools = run
    names = [f'beam.n{n}' for n in (1, 2, 4, 8, 16)]
    searched = [dataclasses.replace(r, strategy='beam', pool=f'beam.n{r.n}') for r in records if r.strategy == 'majority']
    write_run(tmp_path / 'run', [*records, *searched], pools)
    for name in names:
        found = [dataclasses.replace(pool, pool=name, chosen={'answer': '7', 'votes': []}) for pool in pools[:4]]
        (tmp_path / 'run' / 'pools' / f'{name}.jsonl').write_text(''.join(f'{to_line(pool)}\n' for pool in found))
    write_report([tmp_path / 'run'], tmp_path / 'report.html')
    page = (tmp_path / 'report.html').read_text(encoding='utf-8')
    assert '<details><summary>6 pools of samples</summary>' in page and 'Searched anew at each n: beam.' in page


def test_the_figures_lie_in_their_run_folder(written, run_folder):
    names = {path.name for path in (run_folder / 'figures').iterdir()}
    stems = (
        'accuracy_against_n',
        'accuracy_against_flops',
        'gain_against_n',
        'cost_by_phase',
        'proxy_against_gold',
        'verifier_reliability',
    )
    assert names == {f'{stem}.{kind}' for stem in stems for kind in ('png', 'csv')}


def test_two_runs_share_a_page(run_folder, tmp_path):
    write_report([run_folder, run_folder], tmp_path / 'report.html')
    assert (tmp_path / 'report.html').read_text(encoding='utf-8').count('<h2>synthetic</h2>') == 2


def test_the_same_runs_give_the_same_bytes(run_folder, written, tmp_path):
    write_report([run_folder], tmp_path / 'report.html')
    assert (tmp_path / 'report.html').read_text(encoding='utf-8') == written


def test_a_run_without_pools_or_configuration_still_reports(run, tmp_path):
    (tmp_path / 'records.jsonl').write_text(''.join(f'{to_line(r)}\n' for r in run[0] if r.seed == 0))
    write_report([tmp_path], tmp_path / 'report.html')
    text = Reader((tmp_path / 'report.html').read_text(encoding='utf-8')).text
    assert 'a single seed' in text and 'model unknown' in text and 'q007' in text


def test_damage_is_named(run_folder, tmp_path):
    with pytest.raises(RunError, match=r'records\.jsonl: cannot be read'):
        read_run(tmp_path)
    (tmp_path / 'records.jsonl').write_text('')
    with pytest.raises(RunError, match='has none'):
        read_run(tmp_path)
    good = (run_folder / 'records.jsonl').read_text().splitlines()[0]
    for bad in (good[:40], '{}', '[]', '3', good.replace('"seed"', '"sed"'), '[' * 100_000):
        (tmp_path / 'records.jsonl').write_text(f'{good}\n{bad}\n')
        with pytest.raises(RunError, match=r'records\.jsonl:2: '):
            read_run(tmp_path)
    (tmp_path / 'records.jsonl').write_text(good)
    (tmp_path / 'environment.json').write_text('[]')
    with pytest.raises(RunError, match=r'environment\.json'):
        read_run(tmp_path)
    with pytest.raises(RunError, match='at least one'):
        write_report([], tmp_path / 'report.html')
    with pytest.raises(RunError, match='cannot be written'):
        write_report([run_folder], run_folder / 'records.jsonl' / 'report.html')


def test_labels_and_model_come_from_the_configuration(run_folder):
    run = read_run(run_folder)
    assert run.labels == ('majority', 'best_of_n') and run.model == 'nano'
    assert len(run.records) == 800 and len(run.pools) == 80


def test_clipping_counts_what_is_left_out():
    assert page.clipped('abc', 3) == 'abc' and page.clipped('abcd', 3) == 'abc… (1 more characters)'


def test_analysis_never_loads_jax():
    code = """
import sys, jaxreason.analysis.report
print([name for name in sys.modules if name.split(".")[0] in ("jax", "flax", "matplotlib")])
"""
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == '[]'
