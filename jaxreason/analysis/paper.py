"""Writes the page about the paper with its numbers and figures, from finished run folders."""

from pathlib import Path

from jaxreason.analysis import paper_metrics, paper_page
from jaxreason.analysis.drawing import save
from jaxreason.analysis.paper_config import PaperConfig
from jaxreason.analysis.paper_figures import WIDTH
from jaxreason.analysis.paper_inputs import read_paper
from jaxreason.analysis.paper_verdicts import Finding
from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.files import write_whole


def write_paper(config: PaperConfig, out: Path) -> list[Finding]:
    """Writes `config.yaml`, `metrics.json`, `report.html`, and `figures/` (PNG, and the plotted numbers as CSV).

    Args:
        config: which folders to read.
        out: folder to write to.

    Returns:
        What was found, in the order of the page.

    Raises:
        RunError: a folder lacks something, folders do not belong together, `out` holds a run of another verb, or a file cannot
            be written.
    """
    _check_place(out)
    inputs = read_paper(config)
    sections = paper_page.sections_of(inputs)
    findings = [finding for section in sections for finding in section.findings]
    for figure in paper_page.figures_of(sections):
        save(figure.name, figure.plot, figure.frame, paper_page.caption(inputs), out / 'figures', WIDTH)
    write_whole(out / 'config.yaml', config_files.dump(config))
    write_whole(out / 'metrics.json', paper_metrics.to_text(paper_metrics.compute(inputs, findings)))
    write_whole(out / 'report.html', paper_page.html(inputs, sections))
    return findings


def _check_place(out: Path) -> None:
    """Refuses a folder whose configuration is that of another verb: its metrics would be overwritten."""
    path = out / 'config.yaml'
    try:
        if path.exists():
            config_files.load(PaperConfig, path)
    except ConfigError as error:
        raise RunError(f'{out}: holds a run of another verb, which would be overwritten; use another --out.') from error
