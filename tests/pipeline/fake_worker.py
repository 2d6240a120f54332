"""Stands for a worker of a pipeline: does as the stage's configuration says, and writes down when it was at work.

Run as `python fake_worker.py --cores 0 -- VERB CONFIG.yaml --out FOLDER ...`.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import yaml


def end_with_parent():
    while os.read(0, 4096):
        pass
    os._exit(137)


def main(words):
    threading.Thread(target=end_with_parent, daemon=True).start()
    path = Path(next(word for word in words if word.endswith('.yaml')))
    out = Path(words[words.index('--out') + 1])
    number = int(words[words.index('--process-id') + 1]) if '--process-id' in words else 0
    config = yaml.safe_load(path.read_text())
    variables = {name: os.environ[name] for name in os.environ if name.startswith(('JAX_', 'XLA_'))}
    did = {'pid': os.getpid(), 'words': words, 'began': time.time(), 'number': number, 'variables': variables}
    out.mkdir(parents=True, exist_ok=True)
    (out / f'began{number}.json').write_text(json.dumps(did))
    for line in config['status']:
        os.write(1, line.encode() + b'\n')
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    if 'deaf' in config['do']:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    (out / f'ready{number}').touch()
    for word in config['do']:
        if word.startswith('sleep '):
            time.sleep(float(word[6:]))
        elif word.startswith('say '):
            print(word[4:], file=sys.stderr, flush=True)
        elif word == 'die':
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == 'fail once' and not (out / 'failed').exists():
            (out / 'failed').touch()
            sys.exit(2)
        elif word.startswith('fail ') and word != 'fail once':
            sys.exit(int(word[5:]))
    for name in ('report.html', 'metrics.json'):
        (out / name).write_text(f'{name} of {path.stem.rpartition("-")[0]}\n')
    with (out / f'ended{number}.jsonl').open('a') as file:
        file.write(json.dumps(did | {'ended': time.time()}) + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
