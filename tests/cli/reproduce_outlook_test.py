"""`jaxreason reproduce --dry-run`: what a recipe would take."""

from pathlib import Path

RECIPE = Path(__file__).resolve().parents[2] / 'configs/paper/qwen2.5-0.5b.yaml'


def test_offline_and_nothing_is_left_behind(command, tmp_path):
    code, out, err = command('reproduce', RECIPE, '--dry-run', '--chip', 'v5e', '--chips=8')
    assert (code, err) == (0, '') and 'chip-hours' in out and 'Assumptions:' in out
    assert not (tmp_path / 'runs').exists()


def test_refusals(refused):
    said = refused('reproduce', RECIPE, '--dry-run', '--chip', 'v5x')
    assert 'did you mean v5' in said and 'h100' in said
    assert '--chips needs --chip' in refused('reproduce', RECIPE, '--dry-run', '--chips', '8')
    assert '--dry-run' in refused('reproduce', RECIPE, '--chip', 'v5e')
    assert '--dry-run' in refused('reproduce', RECIPE, '--chips', '8')
