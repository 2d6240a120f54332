"""The training that every contestant does: shapes, weights to begin with, batches, optimiser. NumPy only.

Every row is one example of its whole length, so that a peer needs no mask to keep packed examples apart, and may use its
fastest causal attention; ours runs the program of packed rows all the same. All contestants begin with the same weights and see
the same batches in the same order: the losses of a run must agree.
"""

import dataclasses

import numpy as np

PROMPT = 32  # tokens at the beginning of a row that are not to be predicted
BATCHES = 4  # different ones, seen in turn
LEARNING_RATE, BETAS, EPSILON, DECAY, CLIP = 3e-4, (0.9, 0.95), 1e-8, 0.1, 1.0
NORM_EPSILON, ROPE_THETA = 1e-5, 10_000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder with a tied head, and a batch."""

    vocab_size: int
    num_layers: int
    width: int
    mlp_width: int
    num_heads: int
    head_width: int
    rows: int
    length: int = 256

    @property
    def tokens(self) -> int:
        """Tokens of a batch."""
        return self.rows * self.length


SHAPES = {
    '2.6M': Shape(vocab_size=2048, num_layers=5, width=192, mlp_width=512, num_heads=6, head_width=32, rows=8),
    '30M': Shape(vocab_size=8192, num_layers=8, width=512, mlp_width=1408, num_heads=8, head_width=64, rows=4),
}


def weights(shape: Shape) -> dict[str, np.ndarray]:
    """Matrices to begin with, float32, input dimensions first, those of layers stacked; norms begin with ones."""
    d, f, inner, v = shape.width, shape.mlp_width, shape.num_heads * shape.head_width, shape.vocab_size
    sizes = {'q': (d, inner), 'k': (d, inner), 'v': (d, inner), 'o': (inner, d), 'gate': (d, f), 'up': (d, f), 'down': (f, d)}
    rng = np.random.default_rng(0)
    made = {name: rng.standard_normal((shape.num_layers, *size)) * size[0] ** -0.5 for name, size in sizes.items()}
    made['embedding'] = rng.standard_normal((v, d)) * d**-0.5
    return {name: values.astype(np.float32) for name, values in made.items()}


def texts(shape: Shape) -> np.ndarray:
    """Token ids of all batches, [batches, rows, length + 1]; the last of a row is only predicted."""
    rng = np.random.default_rng(1)
    # A few tokens are frequent, as in any text: a table's gradient has rows that many positions add to.
    drawn = shape.vocab_size * rng.random((BATCHES, shape.rows, shape.length + 1)) ** 3
    return drawn.astype(np.int64)
