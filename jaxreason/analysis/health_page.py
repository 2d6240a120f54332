"""The section of the report about verifiers: whether their scores can be trusted, in tables and two figures."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxreason.analysis import page, tables
from jaxreason.analysis.figures import HEALTH_FIGURES, pictures

NOTHING = '–'


def section(metrics: Mapping[str, Any]) -> list[str]:
    """The section as HTML parts; empty where no verifier scored samples."""
    verifiers = metrics['verifiers']
    if not verifiers:
        return []
    note = (
        'From independent samples alone, each verifier on the same ones. A score is that of the last step unless said '
        'otherwise; samples without scores are left out, except where answers are chosen. [95 % bootstrap interval over '
        'questions] (number of questions). AUC and correlation within questions are means over those that have one.'
    )
    parts = ['<h3>Verifier health</h3>', f'<p class="quiet">{page.text(note)}</p>', _facts(verifiers)]
    return [
        *parts,
        *pictures(HEALTH_FIGURES, metrics),
        _best_of_n(verifiers),
        _aggregations(verifiers),
        _against(verifiers),
        _probes(verifiers),
    ]


def _facts(verifiers: Mapping[str, Any]) -> str:
    rows = [(name, *row) for name, health in verifiers.items() for row in _facts_of(health)]
    return page.table(('verifier', 'what', 'value'), rows, num_words=2)


def _facts_of(health: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield 'solutions scored', f'{health["num_solutions"]:,} of {health["num_questions"]:,} questions'
    for reason, count in health['unscored'].items():
        yield f'solutions not scored: {reason.replace("_", " ")}', f'{count:,}'
    for kind, value in health['within_question_auc'].items():
        yield f'AUC of right against wrong answers within questions, {kind}', number(value)
    for feature, words in (('length', 'length in tokens'), ('repetition', 'repetition (share of 4-grams written before)')):
        for how, value in health['correlation'][feature].items():
            place = 'all solutions' if how == 'pooled' else 'within questions'
            yield f'rank correlation with {words}, {place}', number(value, '+')
    if health['calibration']:
        yield 'expected calibration error of the last score', number(health['calibration']['ece'])
    if health['steps']:
        yield from steps_of(health['steps'])


def steps_of(steps: Mapping[str, Any], right: str = 'that the exact checker finds right') -> Iterator[tuple[str, str]]:
    """What `core.judgement.summarise` says of steps, as names and values; `right` says which of them count as right."""
    yield f'steps {right}, %', _share(steps['share_right'])
    yield 'AUC of right against wrong steps, all steps', number(steps['step_auc'])
    yield 'AUC of right against wrong steps within questions', number(steps['within_question_step_auc'])
    yield 'accuracy of steps at 0.5, %', _share(steps['accuracy'])
    if steps['calibration']:
        yield 'expected calibration error of steps', number(steps['calibration']['ece'])
    errors = steps['first_error']
    if errors['cross_fitted']:
        for name, words in (
            ('f1', 'F1'),
            ('erroneous', 'found where there is one'),
            ('error_free', 'none where there is none'),
        ):
            yield f'first wrong step, threshold from other questions: {words}', number(errors['cross_fitted'][name])


def _best_of_n(verifiers: Mapping[str, Any]) -> str:
    rows = []
    for name, health in verifiers.items():
        for row in health['best_of_n']:
            votes = [tables.percent(row[vote]) for vote in ('naive', 'weighted', 'majority')]
            rows.append((name, str(row['n']), number(row['chosen_score']), _share(row['accepted']), *votes))
    heads = ('verifier', 'n', 'score of the best', 'at least 0.5, %', 'single best right, %', 'weighted vote, %', 'majority, %')
    note = (
        'Best-of-n by proxy and by gold on the same samples: where the score of the best solution rises and its accuracy '
        'falls, the verifier is over-optimised.'
    )
    return f'<h4>More samples</h4>{page.table(heads, rows)}<p class="quiet">{note}</p>'


def _aggregations(verifiers: Mapping[str, Any]) -> str:
    rows = []
    for name, health in verifiers.items():
        for row in health['aggregations']:
            rows.append((name, _told(row), str(row['n']), tables.percent(row['accuracy']), tables.percent(row['gain'], '+')))
    if not rows:
        return ''
    heads = ('verifier', 'score of a solution', 'n', 'right, %', 'over majority, points')
    return f'<h4>Aggregations</h4>{page.table(heads, rows, num_words=2)}'


def _against(verifiers: Mapping[str, Any]) -> str:
    rows = [
        (name, row['verifier'], _told(row), str(row['n']), tables.percent(row['gain'], '+'))
        for name, health in verifiers.items()
        for row in health['against']
    ]
    if not rows:
        return ''
    heads = ('verifier', 'against', 'score of a solution', 'n', 'gain, points')
    return f'<h4>Against each other</h4>{page.table(heads, rows, num_words=3)}'


def _told(row: Mapping[str, Any]) -> str:
    return f'{row["aggregation"]}, {"single best" if row["vote"] == "naive" else "weighted vote"}'


def _probes(verifiers: Mapping[str, Any]) -> str:
    rows = []
    for name, health in verifiers.items():
        for probe, told in (health['probes'] or {}).items():
            reasons = ', '.join(f'{count} {reason.replace("_", " ")}' for reason, count in told['unscored'].items())
            cells = (number(told['score']), number(told['real']), _share(told['above_real']), reasons or NOTHING)
            rows.append((name, probe, *cells))
    if not rows:
        return ''
    heads = ('verifier', 'answer', 'its score', 'score of real ones', 'above a real one, %', 'not scored')
    note = 'Answers that say nothing, to the first questions of the run. A sound verifier scores them below the real ones.'
    return f'<h4>Empty answers</h4>{page.table(heads, rows, num_words=2)}<p class="quiet">{note}</p>'


def number(value: Mapping[str, Any] | None, sign: str = '') -> str:
    """Three digits and the interval, with the number of questions where it is known."""
    if value is None:
        return NOTHING
    text = f'{value["point"]:{sign}.3f}'
    if value['low'] is not None:
        text += f' [{value["low"]:{sign}.3f}, {value["high"]:{sign}.3f}]'
    return f'{text} ({value["num_questions"]:,})' if 'num_questions' in value else text


def _share(value: Mapping[str, Any] | None) -> str:
    return NOTHING if value is None else tables.percent(value)
