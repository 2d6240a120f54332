"""What goes wrong for a user, as types: a mistake or a damaged input, told in one line.

Every message says what was expected, what came, and what to change. The command line prints it without a traceback.
"""


class JaxreasonError(Exception):
    """A user's mistake or a damaged input. The message is one line."""


class ConfigError(JaxreasonError, ValueError):
    """A configuration cannot be used: unknown key, wrong type, impossible value."""


class WeightsError(JaxreasonError, ValueError):
    """A weights file or folder is missing, damaged, or of an architecture that is not supported."""


class TokenizerError(JaxreasonError, ValueError):
    """A tokenizer or chat template is missing, damaged, or does not fit its model."""


class DataError(JaxreasonError, ValueError):
    """A problem file is missing, empty or damaged."""


class RunError(JaxreasonError):
    """A run folder cannot be used: not writable, locked, damaged, or made by another configuration."""


class DivergedError(RunError):
    """Training stopped: several losses or gradients in a row were not finite."""


class ProcessError(JaxreasonError):
    """Another process of the same run did not come, died, or does something else."""
