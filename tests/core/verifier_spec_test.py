import dataclasses

import pytest

from jaxreason.core.config import build, dump, load
from jaxreason.core.errors import ConfigError
from jaxreason.core.verifier_spec import Layout, VerifierSpec

YAML = """
model: {source: a/folder, dtype: bfloat16, mesh: {data: 2}}
head: label
labels: [good, bad]
boundary: before_marker
layout: {form: turns, system: Judge., question: "Q: {question} ", marker: good}
num_rows: 4
"""


def test_a_spec_is_read_from_yaml_and_written_back(tmp_path):
    path = tmp_path / 'verifier.yaml'
    path.write_text(YAML)
    spec = load(VerifierSpec, path)
    assert spec.labels == ('good', 'bad') and spec.layout.form == 'turns' and spec.model.mesh == {'data': 2}
    again = tmp_path / 'again.yaml'
    again.write_text(dump(spec))
    assert load(VerifierSpec, again) == spec


WRONG = {
    'head': ({'head': 'valu'}, 'valu'),
    'labels missing': ({'head': 'label'}, r'two texts, good and bad, for head label .* got \[\]'),
    'labels for none': ({'labels': ['a', 'b']}, 'none for others'),
    'one label': ({'head': 'label', 'labels': ['a']}, 'two texts'),
    'rows': ({'num_rows': 0}, 'at least 1 row'),
    'memory': ({'carry_bytes': -1}, 'carry_bytes must be at least 0'),
    'question': ({'layout': {'question': 'Q'}}, 'where the question goes'),
    'marker': ({'layout': {'marker': ''}}, 'got an empty one'),
    'lines': ({'layout': {'line_breaks': 'markers', 'marker': 'x'}}, 'a marker that is a line break'),
    'turns': ({'layout': {'form': 'turns', 'gap': ' '}}, 'form turns has no gap'),
    'unknown': ({'layout': {'sistem': 'x'}}, 'did you mean .*system'),
}


@pytest.mark.parametrize('case', WRONG)
def test_impossible_specs_are_refused(case):
    mapping, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        build(VerifierSpec, mapping)


def test_python_callers_are_checked_too():
    with pytest.raises(ConfigError, match='form must be one of chat, turns, plain'):
        Layout(form='prose')  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match='boundary must be one of'):
        dataclasses.replace(VerifierSpec(), boundary='nowhere')
