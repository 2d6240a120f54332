"""`jaxreason weights`: fetch a model, look at one, write one as a Hugging Face folder."""

import argparse
import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from jaxreason.models.folder import Weights


def add_parser(subparsers) -> None:
    """Adds the verb and its actions.

    Args:
        subparsers: of the command line's main parser.
    """
    from jaxreason.models.presets import PRESETS

    verb = subparsers.add_parser('weights', help='fetch, inspect and export models')
    actions = verb.add_subparsers(dest='action', required=True, metavar='ACTION')
    presets = '; '.join(f'{preset.name}: {preset.about}' for preset in PRESETS.values())
    source = f'a preset ({", ".join(PRESETS)}), a Hugging Face folder, a .gguf file, or OWNER/NAME once fetched'

    fetch = actions.add_parser('fetch', help='bring a model into the cache and print its path', epilog=f'Presets: {presets}.')
    fetch.add_argument('name', metavar='NAME', help='a preset, or OWNER/NAME on the Hugging Face Hub')
    fetch.add_argument('--cache-dir', type=Path, metavar='DIR', help="keep it in DIR instead of the user's cache")

    inspect = actions.add_parser('inspect', help='print what a model is, without loading it')
    inspect.add_argument('source', metavar='SOURCE', help=source)

    export = actions.add_parser('export', help='write a model of the Llama family as a Hugging Face folder')
    export.add_argument('source', metavar='SOURCE', help=source)
    export.add_argument('folder', metavar='FOLDER', type=Path, help='folder to make')
    export.add_argument(
        '--dtype', choices=('float32', 'bfloat16'), default='float32', help='of the weights (default: %(default)s)'
    )


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code.

    Args:
        parser: what `add_parser` was given subparsers of.
        argv: the words of the command line, the verb first.

    Raises:
        WeightsError: the model cannot be had, read or written.
        TokenizerError: the model's tokenizer cannot be written.
    """
    args = parser.parse_args(argv)
    return {'fetch': _fetch, 'inspect': _inspect, 'export': _export}[args.action](args)


def _fetch(args: argparse.Namespace) -> int:
    from jaxreason.models.fetch import fetch

    print(fetch(args.name, args.cache_dir))
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jaxreason.models.fetch import resolve
    from jaxreason.models.folder import open_weights

    rows = _description(open_weights(resolve(args.source)))
    table = Table(show_header=False, box=None)
    for label, value in rows.items():
        table.add_row(Text(label, style='bold'), Text(value, overflow='fold'))
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(20 + len(value) for value in rows.values()))  # nothing folds in a file or a pipe
    console.print(table)
    return 0


def _export(args: argparse.Namespace) -> int:
    from jaxreason.models.fetch import resolve
    from jaxreason.models.folder import read_checkpoint
    from jaxreason.models.folder_writer import write_folder

    checkpoint = read_checkpoint(resolve(args.source), args.dtype)
    source = checkpoint.tokenizer_source
    folder = write_folder(
        args.folder,
        checkpoint.config,
        checkpoint.parameters,
        tokenizer_json=None if source is None else _tokenizer_json(source),
        chat_template=checkpoint.chat_template,
        eos_ids=checkpoint.eos_ids,
        bos_id=checkpoint.bos_id,
        generation=checkpoint.generation,
    )
    print(folder)
    return 0


def _tokenizer_json(source: Path | Mapping[str, object]) -> str:
    if isinstance(source, Path):
        return (source / 'tokenizer.json').read_text(encoding='utf-8')
    from jaxreason.models.tokenizer_writer import tokenizer_json

    return tokenizer_json(source)


def _description(weights: 'Weights') -> dict[str, str]:
    """What `inspect` prints, by label."""
    config = weights.config
    stored = collections.Counter(weights.kinds.values()).most_common()
    num_bytes = sum(path.stat().st_size for path in weights.files)
    heads = f'{config.num_heads} query, {config.num_kv_heads} key/value, width {config.head_width}'
    windows = sorted(set(config.windows) - {0})
    rows = {
        'name': weights.name,
        'path': str(weights.path),
        'architecture': config.family,
        'parameters': f'{config.num_parameters:,} ({config.matmul_parameters:,} multiplied per token)',
        'layers': str(config.num_layers),
        'widths': f'{config.width} model, {config.mlp_width} feed-forward',
        'heads': heads,
        'vocabulary': f'{config.vocab_size:,}, head {"tied to" if config.tied_head else "apart from"} the embedding',
        'context length': f'{config.max_positions:,}' + (f', windows of {windows[0]:,} in some layers' if windows else ''),
        'stored as': ', '.join(f'{kind} x {count}' for kind, count in stored) + f' ({num_bytes / 1e6:,.1f} MB)',
        'tokenizer': 'none' if weights.tokenizer_source is None else 'present',
        'chat template': 'none' if weights.chat_template is None else f'present, {len(weights.chat_template)} characters',
        'end tokens': ', '.join(map(str, weights.eos_ids)) or 'none named',
        'sha256': weights.digest(),
    }
    # Names come from the file: what a terminal would obey is not shown.
    return {label: printable(value) for label, value in rows.items()}
