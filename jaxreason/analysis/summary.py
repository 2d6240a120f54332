"""A finished run in numbers and pictures: `metrics.json` and `figures/`, from its records alone."""

from pathlib import Path

from jaxreason.analysis.figures import save_all
from jaxreason.analysis.metrics import Metrics, compute, to_text
from jaxreason.analysis.report import figure_caption
from jaxreason.analysis.run_folder import read_run
from jaxreason.core.files import write_whole


def summarise(folder: Path) -> Metrics:
    """Writes `metrics.json` and `figures/` of a run folder.

    Args:
        folder: of a run that has its records.

    Returns:
        What `metrics.json` holds.

    Raises:
        RunError: the records are missing or damaged, or the folder cannot be written to.
    """
    run = read_run(folder)
    metrics = compute(run.records, run.pools, run.labels)
    write_whole(folder / 'metrics.json', to_text(metrics))
    save_all(metrics, figure_caption(run, metrics), folder / 'figures')
    return metrics
