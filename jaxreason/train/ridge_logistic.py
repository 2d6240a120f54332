"""Logistic regression on shares, with a ridge: convex, so that Newton's method finds the one answer in a few steps."""

import numpy as np

_MOST_STEPS = 100
_TOLERANCE = 1e-9  # of the gradient, for each row


def fit_ridge_logistic(inputs: np.ndarray, targets: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Minimises the summed cross-entropy plus `ridge / 2` times the squared length of the weights; the bias goes free.

    Args:
        inputs: `[rows, inputs]` float64, of similar scales.
        targets: `[rows]`, shares in [0, 1].
        ridge: above 0, which makes the answer finite and unique unless all targets are 0 or all are 1.

    Returns:
        Weights `[inputs]`, and the bias.

    Raises:
        ValueError: there are no rows, the ridge is not positive, or all targets are 0 or all are 1.
    """
    if ridge <= 0 or not len(targets) or not 0 < targets.sum() < len(targets):
        raise ValueError(f'ridge regression: expected a ridge above 0 and targets between 0 and 1, got ridge {ridge}.')
    x = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    penalty = np.append(np.full(inputs.shape[1], float(ridge)), 0.0)
    beta = np.zeros(x.shape[1])
    mean = targets.mean()
    beta[-1] = np.log(mean) - np.log1p(-mean)
    for _ in range(_MOST_STEPS):
        p = _sigmoid(x @ beta)
        gradient = x.T @ (p - targets) + penalty * beta
        if np.abs(gradient).max() <= _TOLERANCE * len(targets):
            break
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        beta = _shortened(x, targets, penalty, beta, np.linalg.solve(curvature, gradient))
    return beta[:-1], float(beta[-1])


def cross_entropy(odds: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Nats of every row: `-t log p - (1 - t) log (1 - p)` of log-odds, without rounding to 0 or 1."""
    return np.logaddexp(0.0, odds) - targets * odds


def _shortened(x: np.ndarray, targets: np.ndarray, penalty: np.ndarray, beta: np.ndarray, step: np.ndarray) -> np.ndarray:
    """`beta` after a step that does not make things worse: Newton's is too long where the curve is far from a parabola."""

    def loss(at: np.ndarray) -> float:
        return float(cross_entropy(x @ at, targets).sum() + penalty @ (at * at) / 2)

    before = loss(beta)
    for halvings in range(40):
        candidate = beta - step * 0.5**halvings
        if loss(candidate) <= before:
            return candidate
    return beta  # as good as rounding allows


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -odds))
