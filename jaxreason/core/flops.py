"""FLOPs of a decoder, counted analytically; ledger, dry run and plan share this page.

Conventions:
- a multiply-add is 2 FLOPs;
- counted are the matrix products: projections, attention scores and their weighted sum, the head where logits are wanted;
- an embedding lookup is 0; norms, rotation, activations, softmax and biases are left out (below 1 % at usual widths);
- attention is causal over the tokens present: token at position p meets p + 1 keys, or its window if that is smaller;
- a training step is three forward passes: the backward one has two products for each of the forward one;
- an update is left out (some ten FLOPs a parameter), but for the products by which Muon makes one;
- padding, idle rows and recomputation are not counted: they are timing, not cost.

The compiler's own count agrees on one unrolled layer (tests); on a scanned model it counts the body once, so it is never used.
"""

from jaxreason.core.architecture import ModelConfig

MUON_ITERATIONS = 5  # of Newton-Schulz, as published


def head_flops(config: ModelConfig) -> int:
    """FLOPs of the logits of one position."""
    return 2 * config.width * config.vocab_size


def attended_keys(first: int, count: int, window: int) -> int:
    """Keys met by `count` tokens from position `first` on, summed; a window of 0 is none."""
    full = count * (2 * first + count + 1) // 2
    if not window:
        return full
    # Tokens from position `window` on meet `window` keys instead of position + 1.
    beyond = max(0, first + count - max(first, window))
    start = max(first, window)
    excess = beyond * (2 * start + beyond + 1) // 2 - beyond * window
    return full - excess


def forward_flops(config: ModelConfig, first: int, count: int, logits: int) -> int:
    """FLOPs of running `count` tokens from position `first` on, with everything before them cached.

    Args:
        config: the model.
        first: tokens cached already.
        count: tokens to run.
        logits: positions at which logits are computed.
    """
    matrices = 2 * count * config.layer_matmul_parameters
    keys = sum(attended_keys(first, count, window) for window in config.windows)
    attention = 4 * keys * config.num_heads * config.head_width
    return matrices + attention + logits * head_flops(config)


def prompt_flops(config: ModelConfig, prompt_tokens: int) -> int:
    """FLOPs of a prompt: all but its last token, which every sample feeds itself to draw its first token."""
    return forward_flops(config, 0, prompt_tokens - 1, 0)


def decode_flops(config: ModelConfig, prompt_tokens: int, first: int, count: int) -> int:
    """FLOPs of drawing `count` tokens after a prompt and `first` earlier ones: one forward pass with logits a token."""
    return forward_flops(config, prompt_tokens - 1 + first, count, count)


def training_flops(config: ModelConfig, tokens: int) -> int:
    """FLOPs of a training step's share in one sequence: forward and backward over all its tokens, logits at each."""
    return 3 * forward_flops(config, 0, tokens, tokens)


def muon_flops(config: ModelConfig) -> int:
    """FLOPs of one update by Muon: an iteration takes three products, X X', its square and one of the two with X."""
    heads, kv_heads = config.num_heads * config.head_width, config.num_kv_heads * config.head_width
    attention = [(config.width, heads), (config.width, kv_heads), (config.width, kv_heads), (heads, config.width)]
    matrices = map(sorted, [*attention, *3 * [(config.width, config.mlp_width)]])
    return config.num_layers * sum(MUON_ITERATIONS * 2 * (2 * short**2 * long + short**3) for short, long in matrices)
