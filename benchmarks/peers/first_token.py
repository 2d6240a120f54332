"""From nothing to a token: loads a model and draws one token of one prompt, then prints a line and ends.

Settings come as one JSON object, as in `jaxreason_worker.py`; the text of the question as a second argument.
"""

import dataclasses
import json
import sys


def main() -> None:
    settings, text = json.loads(sys.argv[1]), sys.argv[2]
    from jaxreason.cli.runtime import start_jax

    start_jax()
    from jaxreason.core.protocols import Job
    from jaxreason.core.types import Question
    from jaxreason.data.prompts import PromptSpec
    from jaxreason.engine.language_model import load
    from jaxreason.engine.sampler import Sampler

    lm = dataclasses.replace(load(settings.pop('model'), dtype=settings.pop('dtype')), eos_ids=())
    sampler = Sampler(lm=lm, prompt=PromptSpec(**settings.pop('prompt')), max_tokens=128, **settings)
    session, question = sampler.session(), Question('0', text)
    session.prepare([question])
    (row,), _ = session.start(question, 1, 0, 0)
    session.submit(Job(row, False, 1, False))
    (row,) = session.pump()
    print(json.dumps({'tokens': list(row.tokens)}), flush=True)


if __name__ == '__main__':
    main()
