"""The page about the paper: what was run, a table of findings, and in the paper's order figures beside what they show.

Sections and figures of the paper are numbered as in its ICLR version (2025).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxreason.analysis import (
    matching_page,
    page,
    paper_figures,
    paper_revision_figures,
    paper_revisions,
    paper_savings,
    paper_search,
    paper_verifiers,
)
from jaxreason.analysis.drawing import picture_of
from jaxreason.analysis.paper_figures import PaperFigure
from jaxreason.analysis.paper_inputs import PaperInputs, Part
from jaxreason.analysis.paper_verdicts import Finding, Verdict
from jaxreason.core.quantities import quantity

_MARKS = {Verdict.AGREES: 'correct', Verdict.DISAGREES: 'wrong', Verdict.UNTOLD: 'unjudged', Verdict.ABSENT: 'left'}
_CHAIN, _RATIOS, _CHOSEN = 'Revisions along the chain', 'Sequential to parallel', 'Compute-optimal revisions'
_STYLE = """
.pair { display: grid; gap: 0 2rem; grid-template-columns: minmax(0, 1fr); }
.pair figure { margin: .5rem 0; }
.pair img { width: 100%; max-width: 30rem; }
.pair h3 { margin: 1rem 0 0; }
.finding { border-left: 3px solid var(--line); padding: 0 0 0 .8rem; margin: 1rem 0; }
.badge { font-weight: 700; white-space: nowrap; }
.badge.correct::before { content: '= '; } .badge.wrong::before { content: '≠ '; } .badge.unjudged::before { content: '? '; }
.cards td { white-space: normal; text-align: left; vertical-align: top; }
.cards th { text-align: left; }
@media (min-width: 60rem) { body { max-width: 72rem; } .pair { grid-template-columns: 30rem minmax(0, 1fr); } }
@media (max-width: 40rem) {
  .cards table, .cards tbody, .cards tr, .cards td { display: block; }
  .cards tr.heads { display: none; }
  .cards tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
  .cards td { border: 0; padding: .1rem 0; }
  .cards td[data-head]::before { content: attr(data-head) ': '; color: var(--quiet); }
}
"""


class Section(NamedTuple):
    """One section of the page.

    Attributes:
        anchor: of links to it.
        title: of it.
        figures: to draw.
        findings: beside them.
        notes: sentences below.
        tables: HTML below.
    """

    anchor: str
    title: str
    figures: Sequence[PaperFigure]
    findings: Sequence[Finding]
    notes: Sequence[str] = ()
    tables: Sequence[str] = ()


def sections_of(inputs: PaperInputs) -> list[Section]:
    """All sections, in the paper's order."""
    part, labels = inputs.search, inputs.labels
    return [
        Section(
            'search',
            'Search against the budget',
            paper_figures.search_figures(part, labels),
            paper_search.by_budget(part, labels),
        ),
        Section(
            'bins', 'Search by difficulty', paper_figures.bin_figures(part, labels), paper_search.by_difficulty(part, labels)
        ),
        Section(
            'compute-optimal',
            'Compute-optimal search',
            paper_figures.compute_optimal_figures(part, 'compute_optimal'),
            paper_savings.search_saving(part),
            tables=[_worth(part)],
        ),
        *_revisions(inputs),
        _duel(inputs),
        Section(
            'verifiers',
            'PRM against ORM',
            paper_figures.verifier_figures(part, labels),
            paper_verifiers.verifiers(part, labels),
        ),
        Section(
            'aggregations',
            'From scores to an answer',
            paper_figures.aggregation_figures(part, labels),
            paper_verifiers.aggregations(part, labels),
        ),
    ]


def _revisions(inputs: PaperInputs) -> Iterator[Section]:
    part, revised = inputs.revisions, inputs.revised
    if part is None or revised is None:
        yield Section('chain', _CHAIN, (), paper_revisions.chain_left_out())
        yield Section('ratios', _RATIOS, (), paper_revisions.ratios_left_out())
        yield Section('compute-optimal-revisions', _CHOSEN, (), paper_savings.revision_saving(None))
        return
    yield Section(
        'chain',
        _CHAIN,
        paper_revision_figures.chain_figures(part, revised),
        paper_revisions.along_the_chain(part, revised),
    )
    yield Section('ratios', _RATIOS, paper_revision_figures.ratio_figures(part, revised), paper_revisions.ratios(part, revised))
    yield Section(
        'compute-optimal-revisions',
        _CHOSEN,
        paper_figures.compute_optimal_figures(part, 'compute_optimal_revisions'),
        paper_savings.revision_saving(part),
        tables=[_worth(part)],
    )


def _worth(part: Part) -> str:
    heads, *rows = paper_savings.worth(part)
    return _cards(heads, [[page.text(cell) for cell in row] for row in rows])


def _duel(inputs: PaperInputs) -> Section:
    title, found = 'Against a larger model', inputs.duel
    if found is None:
        return Section('duel', title, (), paper_savings.duel(None))
    table = found.table
    gains, levels, curves = matching_page.gains(table), matching_page.points(table), paper_savings.duel_points(table)
    tables = [
        _cards(curves[0], [[page.text(cell) for cell in row] for row in curves[1:]]),
        page.folded('Relative gains, beside those of the paper', page.table(gains[0], gains[1:])),
        page.folded('Points by level', page.table(levels[0], levels[1:])),
    ]
    notes = [matching_page.LEGEND, *table['notes']]
    return Section('duel', title, paper_revision_figures.duel_figures(table), paper_savings.duel(table), notes, tables)


def html(inputs: PaperInputs, sections: Sequence[Section]) -> str:
    """The whole page."""
    body = [
        '<h1>Scaling test-time compute, run again</h1>',
        f'<p>{page.text(_LEAD)}</p>',
        _basis(inputs),
        '<h2 id="summary">In short</h2>',
        f'<p class="quiet">{page.text(_VERDICTS)}</p>',
        _summary(sections),
        *(part for section in sections for part in _section(section)),
    ]
    return page.document('jaxreason: scaling test-time compute, run again', body, _STYLE)


_LEAD = (
    'Snell, Lee, Xu and Kumar, Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model Parameters, '
    'in the order of the paper, on the models and questions below. Sections and figures are numbered as in its ICLR version '
    '(2025). What the paper found is told in our words; what stands beside it was computed from the records of this run.'
)
_VERDICTS = (
    'Every verdict follows by a stated rule from 95 % bootstrap intervals over questions, paired where two strategies are '
    'compared, never from points alone; the rule stands below each finding. Not told apart: the interval holds the bound, so '
    'these questions do not decide. Best fixed: the most accurate single strategy within the same budget, of those that '
    'compute-optimal chooses from; in figures over all questions it was chosen on other questions than it is drawn for.'
)


def _basis(inputs: PaperInputs) -> str:
    """What was run, a row a part."""
    heads = ('part', 'questions', 'sampling seeds', 'policy', 'verifiers', 'device', 'commit')
    rows = [_run_row('search', inputs.search)]
    if inputs.revisions is not None:
        rows.append(_run_row('revisions', inputs.revisions))
    if inputs.duel is not None:
        table = inputs.duel.table
        sizes = [
            f'{side["training"][0]["parameters"]:,} parameters' if side['training'] else side['model']
            for side in (table['small'], table['large'])
        ]
        rows.append(
            (
                'duel',
                f'{table["num_questions"]:,}',
                ', '.join(map(str, table['seeds'])),
                f'{sizes[0]} against {sizes[1]} ({table["size_ratio"]:.3g} times)',
                '–',
                '–',
                table['small']['commit'][:10],
            )
        )
    return _cards(heads, [[page.text(cell) for cell in row] for row in rows])


def _run_row(name: str, part: Part) -> tuple[str, ...]:
    run, environment = part.run, part.run.environment
    seeds = sorted({record.seed for record in run.records})
    size = '' if part.parameters is None else f', {quantity(part.parameters)} parameters'
    commit = str(environment.get('commit', 'unknown'))
    return (
        name,
        f'{part.metrics["num_questions"]:,}, {part.metrics["num_seeds"]} seed{"s" * (part.metrics["num_seeds"] > 1)}',
        ', '.join(map(str, seeds)),
        f'{run.model.rstrip("/").rpartition("/")[2] or "unknown"}{size}',
        ', '.join(environment.get('verifiers', {})) or 'none',
        str(environment.get('device', 'unknown')),
        commit[:10] + commit[40:],
    )


def _summary(sections: Sequence[Section]) -> str:
    """A row a finding; of a section that was left out a single one."""
    rows = []
    for section in sections:
        link = f'<a href="#{section.anchor}">{page.text(section.title)}</a>'
        for finding in section.findings[: 1 if _why_left_out(section) else None]:
            rows.append([link, page.text(_sentence(finding.paper)), page.text(finding.short), _badge(finding.verdict)])
            link = ''
    return _cards(('', 'the paper', 'here', ''), rows)


def _why_left_out(section: Section) -> str | None:
    """The one reason why nothing of a section was run; None where something was."""
    reasons = {finding.ours for finding in section.findings if finding.verdict is Verdict.ABSENT}
    is_left_out = len(reasons) == 1 and all(finding.verdict is Verdict.ABSENT for finding in section.findings)
    return reasons.pop() if is_left_out else None


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.anchor}"><h2>{page.text(section.title)}</h2>'
    why = _why_left_out(section)
    if why is not None and not section.figures:
        told = '; '.join(f'{finding.paper} ({finding.where})' for finding in section.findings)
        yield f'<div class="finding"><p><b>The paper</b>: {page.text(told)}.</p>'
        yield f'<p><b>Here</b>: {page.text(why)}.</p><p>{_badge(Verdict.ABSENT)}</p></div></section>'
        return
    yield '<div class="pair"><div>'
    for figure in section.figures:
        yield f'<h3>{page.text(figure.title)}</h3>'
        yield picture_of(figure.name, figure.plot, figure.frame, paper_figures.WIDTH)
    yield '</div><div>'
    for finding in section.findings:
        yield _finding(finding)
    for note in section.notes:
        yield f'<p class="quiet">{page.text(note)}</p>'
    yield f'</div></div>{"".join(section.tables)}</section>'


def _finding(finding: Finding) -> str:
    return (
        f'<div class="finding"><p><b>The paper</b> ({page.text(finding.where)}): {page.text(finding.paper)}.</p>'
        f'<p><b>Here</b>: {page.text(finding.ours)}.</p><p>{_badge(finding.verdict)} '
        f'<span class="quiet">Agrees if {page.text(finding.rule)}.</span></p></div>'
    )


def _badge(verdict: Verdict) -> str:
    return f'<span class="badge {_MARKS[verdict]}">{verdict.value}</span>'


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def _cards(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose rows become cards on a phone; cells are HTML already."""
    lines = [f'<tr class="heads">{"".join(f"<th>{page.text(head)}</th>" for head in heads)}</tr>']
    for row in rows:
        cells = zip(heads, row, strict=True)
        lines.append(f'<tr>{"".join(_card_cell(head, cell) for head, cell in cells)}</tr>')
    return f'<div class="cards"><table>{"".join(lines)}</table></div>'


def _card_cell(head: str, cell: str) -> str:
    name = f' data-head="{page.text(head)}"' if head and cell else ''
    return f'<td{name}>{cell}</td>'


def figures_of(sections: Sequence[Section]) -> list[PaperFigure]:
    """Every figure of the page."""
    return [figure for section in sections for figure in section.figures]


def caption(inputs: PaperInputs) -> str:
    """What stands below a figure that is taken from the page."""
    asked = inputs.search.metrics['num_questions']
    revised = asked if inputs.revisions is None else inputs.revisions.metrics['num_questions']
    others = f' (revisions: {revised:,})' if revised != asked else ''
    return f'{asked:,} questions{others}; bands and bars: 95 % bootstrap intervals over questions.'
