"""Models from the Hugging Face Hub, through its own client, which is optional.

Only weights in safetensors, configurations and tokenizers are asked for: nothing that could be executed. The revision is
looked up first and pinned, so that without a network the answer is an error at once and never half a folder.
"""

import re
from pathlib import Path

from jaxreason.core.errors import WeightsError
from jaxreason.models.fetch_progress import Progress

WANTED = ('*.safetensors', '*.json', '*.jinja', 'tokenizer.model')
# Duplicates of the weights in other formats lie in folders of some repositories.
UNWANTED = ('*/*',)
LOOKUP_SECONDS = 10.0

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}')


def is_hub_name(text: str) -> bool:
    """Whether `text` has the form OWNER/NAME."""
    return _NAME.fullmatch(text) is not None and '..' not in text


def hub_folder(cache: Path, name: str) -> Path:
    """Where `name` (OWNER/NAME) lies in a cache folder, once it was fetched whole."""
    return cache / name.replace('/', '--')


def fetch_from_hub(name: str, cache: Path, progress: Progress) -> Path:
    """Downloads a model's folder.

    Args:
        name: OWNER/NAME.
        cache: an existing folder; the model becomes a folder of it when it is complete.
        progress: told that the download begins; the client shows the rest itself.

    Returns:
        The folder.

    Raises:
        WeightsError: the client is not installed, the Hub cannot be reached or refuses, or what came is not a usable model.
    """
    from jaxreason.models.folder import open_weights

    target = hub_folder(cache, name)
    if target.is_dir():
        return target
    try:
        import huggingface_hub
    except ImportError as error:
        raise WeightsError(
            f'{name}: fetching from the Hub needs huggingface_hub; run `pip install "jaxreason[hub]"`, or give a local folder.'
        ) from error
    partial = target.with_name(f'.{target.name}.partial')  # kept when interrupted: the client resumes it
    progress('download', 0, 0)
    try:
        revision = huggingface_hub.HfApi().model_info(name, timeout=LOOKUP_SECONDS).sha
        huggingface_hub.snapshot_download(
            name, revision=revision, local_dir=partial, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
        )
    except Exception as error:  # the client and the HTTP libraries below it raise many unrelated types
        problem = ' '.join(str(error).split())[:200].rstrip('.') or type(error).__name__
        raise WeightsError(
            f'{name}: the Hub did not deliver it: {problem}; check the name, the network and your access.'
        ) from error
    open_weights(partial)  # a folder that cannot be used must not enter the cache
    partial.rename(target)
    return target
