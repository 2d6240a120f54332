"""`train --dry-run`: what a run would do, need and cost; nothing is compiled and no tensor is read."""

from collections.abc import Mapping, Sequence

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.flops import muon_flops, training_flops
from jaxreason.core.quantities import quantity
from jaxreason.data.batches import Rows
from jaxreason.train.frozen import is_worth_keeping
from jaxreason.train.loop import LoopConfig
from jaxreason.train.next_token import MAX_LOGITS
from jaxreason.train.policy import TrainedModel
from jaxreason.train.run import TrainConfig

ACTIVATIONS = 'what the backward pass needs of the forward one'
LOGITS = 'logits and their gradient'

_FLOAT = 4


def describe_training(
    training: TrainConfig, config: ModelConfig, rows: Rows, held_out: Rows | None, is_frozen: bool = False
) -> str:
    """Says what training on packed rows would do.

    Args:
        training: what it is told.
        config: architecture of the model.
        rows: to learn from.
        held_out: to measure on, or None.
        is_frozen: whether only a head above the decoder is learnt. What the head itself takes is then not counted.

    Returns:
        Lines of text, each a heading and what belongs to it.
    """
    loop, model = training.loop, training.model
    name = 'made from nothing' if model.source is None else model.source
    again = '' if model.remat == 'none' else ', layers computed once more in the backward pass'
    per_step = loop.batch / len(rows)
    trained = sum(training_flops(config, length) for length in rows.lengths())
    once = is_frozen and is_worth_keeping(config, rows, loop.steps * loop.batch)
    flops = trained // 3 if is_frozen else trained
    update = update_flops(training, config)
    a_step, about = flops * per_step + update, 'three times the forward pass'
    if is_frozen:
        about = 'the forward pass of the frozen decoder'
    if update:
        about += f', and {quantity(update, "FLOPs")} of Muon'
    stated = f'none: {about} is made once for all rows' if once else f'{quantity(a_step, "FLOPs")}, {about}'
    unseen = 'none' if held_out is None else f'{held_out.num_examples:,} in {len(held_out):,} rows'
    lines = [
        ('model', f'{name}: {config.num_parameters:,} parameters, layers {model.layers}, products in {model.dtype}{again}'),
        ('examples', f'{rows.num_examples:,} in {len(rows):,} rows of {rows.length:,} tokens, {rows.fill:.1%} full'),
        ('held out', unseen),
        ('steps', f'{loop.steps:,}, {loop.steps * per_step:.3g} passes over the examples'),
        (
            'a step',
            f'{loop.batch:,} rows: {rows.num_tokens * per_step:,.0f} tokens, {rows.num_targets * per_step:,.0f} of them',
        ),
        ('', f'to be predicted; FLOPs: {stated}'),
        ('FLOPs', f'{quantity(flops if once else a_step * loop.steps, "FLOPs")} for the whole run'),
        *_memory(training_memory(training, config, is_frozen), model),
    ]
    width = max(len(head) for head, _ in lines) + 2
    return '\n'.join(f'{head:<{width}}{line}' for head, line in lines)


def update_flops(training: TrainConfig, config: ModelConfig) -> int:
    """FLOPs of the products that make one update."""
    return muon_flops(config) if training.optimiser.kind == 'muon' else 0


def training_memory(training: TrainConfig, config: ModelConfig, is_frozen: bool = False) -> Mapping[str, int]:
    """Bytes that training holds, over all devices, by what they are: the state first, then what a portion of rows takes."""
    loop, size = training.loop, config.num_parameters * _FLOAT
    means = size if training.optimiser.kind == 'adamw' else size - config.layer_matmul_parameters * _FLOAT
    state = {'parameters': size, 'gradients': size, "the optimiser's means": size + means}
    sizes = {'parameters': size} if is_frozen else state
    tokens = loop.batch // loop.accumulate * loop.length
    if is_frozen:
        return {**sizes, ACTIVATIONS: tokens * config.width * _FLOAT}
    sizes[ACTIVATIONS] = tokens * _activations(loop, training.model, config) * _FLOAT
    sizes[LOGITS] = 2 * min(tokens * config.vocab_size, max(MAX_LOGITS, config.vocab_size)) * _FLOAT
    return sizes


def _memory(sizes: Mapping[str, int], model: TrainedModel) -> Sequence[tuple[str, str]]:
    spread = ', over all devices' if model.mesh else ''
    lines = [
        ('memory' if not index else '', f'{quantity(size, "B"):>9} {name}') for index, (name, size) in enumerate(sizes.items())
    ]
    return [*lines, ('', f'{quantity(sum(sizes.values()), "B"):>9} together{spread}, roughly: compilers differ')]


def _activations(loop: LoopConfig, model: TrainedModel, config: ModelConfig) -> int:
    """Numbers kept for each token: inputs of all products, attention's scores and weights; or, of all layers but the one that
    is being computed once more, their inputs."""
    heads = config.num_heads * config.head_width
    layer = 6 * config.width + 3 * (heads + 2 * config.num_kv_heads * config.head_width) + 4 * config.mlp_width
    layer += 3 * config.num_heads * loop.length
    if model.remat == 'layers':
        return layer + (config.num_layers + 2) * config.width
    return config.num_layers * layer + 2 * config.width
