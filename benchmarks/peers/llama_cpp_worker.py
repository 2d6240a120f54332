"""llama.cpp through the low-level batch API of llama-cpp-python: one decode call a step for all live rows.

Settings: `model` (GGUF file), `kv_unified` (one pool of keys and values, or one stream a sequence), `n_ubatch`, `flash_attn`
(0 or 1), `threads`, `prefill` (most prompt tokens of one call, at least one prompt). Sampling is an inverse CDF in NumPy over
all rows at once.
"""

import ctypes

import llama_cpp
import numpy as np
from worker_loop import rows_of_prompts, serve

BATCH = 2048


class LlamaCpp:
    """One model, and a context for each shape of work."""

    def load(self, settings):
        llama_cpp.llama_backend_init()
        quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        self._quiet = quiet  # kept alive: the library holds a bare pointer
        llama_cpp.llama_log_set(quiet, None)
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self._settings = settings
        self._model = llama_cpp.llama_model_load_from_file(settings['model'].encode(), params)
        if not self._model:
            raise RuntimeError(f'{settings["model"]} was not loaded')
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._context, self._shape = None, None
        self._batch = llama_cpp.llama_batch_init(BATCH, 0, 64)
        system = llama_cpp.llama_print_system_info().decode()
        return {'llama-cpp-python': llama_cpp.__version__, 'system': system}

    def ready(self, workload, greedy):
        """A context for this shape of work."""
        rows = len(workload['rows'])
        longest = max(len(workload['prompts'][prompt]) + target for prompt, target in workload['rows'])
        if (rows, longest) != self._shape:
            self._open(workload, rows, longest)
            self._shape = (rows, longest)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)

    def run(self, workload, seed, greedy):
        self._random, self._greedy = np.random.default_rng(seed), greedy
        memory = llama_cpp.llama_get_memory(self._context)
        targets = [target for _, target in workload['rows']]
        tokens = [[] for _ in targets]
        # Its streams run fastest while the live ones are neighbours: rows that draw longest get the lowest numbers.
        order = sorted(range(len(targets)), key=lambda row: (-targets[row], row))
        self._stream = {row: number for number, row in enumerate(order)}
        for row, first in self._prefill(memory, workload):
            tokens[row].append(first)
        at = [len(workload['prompts'][prompt]) for prompt, _ in workload['rows']]
        live = [row for row in order if targets[row] > 1]
        while live:
            drawn = self._decode([(tokens[row][-1], at[row] + len(tokens[row]) - 1, (row,), True) for row in live])
            for row, token in zip(live, drawn, strict=True):
                tokens[row].append(token)
            live = [row for row in live if len(tokens[row]) < targets[row]]
        return tokens

    def _open(self, workload, rows, longest):
        if self._context:
            llama_cpp.llama_free(self._context)
        settings = self._settings
        params = llama_cpp.llama_context_default_params()
        params.n_seq_max = rows
        params.kv_unified = settings['kv_unified']
        params.n_ctx = rows * (-(-longest // 256) * 256)
        if settings['kv_unified'] and rows > 1:  # cells in use: prompts are shared
            params.n_ctx = sum(map(len, workload['prompts'])) + sum(target for _, target in workload['rows']) + 64
        params.n_batch, params.n_ubatch = BATCH, settings['n_ubatch']
        params.n_threads = params.n_threads_batch = settings['threads']
        params.flash_attn_type = settings['flash_attn']
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError('no context was made')

    def _prefill(self, memory, workload):
        """Runs every prompt once; its rows share or copy it. Yields (row, first token)."""
        groups = rows_of_prompts(workload)
        shared = self._settings['kv_unified']
        waiting, cells = [], 0
        for prompt, rows in zip(workload['prompts'], groups, strict=True):
            if waiting and cells + len(prompt) > self._settings['prefill']:
                yield from self._run_prompts(memory, waiting, shared)
                waiting, cells = [], 0
            waiting.append((prompt, rows))
            cells += len(prompt)
        yield from self._run_prompts(memory, waiting, shared)

    def _run_prompts(self, memory, waiting, shared):
        feed = []
        for prompt, rows in waiting:
            feed += [(token, at, rows if shared else rows[:1], at == len(prompt) - 1) for at, token in enumerate(prompt)]
        drawn = iter(self._decode(feed, [len(rows) for _, rows in waiting]))
        for _, rows in waiting:
            for row in rows if shared else rows[:1]:
                yield row, next(drawn)
            for row in () if shared else rows[1:]:
                llama_cpp.llama_memory_seq_cp(memory, self._stream[rows[0]], self._stream[row], -1, -1)
                yield row, next(drawn)

    def _decode(self, feed, copies=None):
        """Runs one batch of (token, position, sequences, wanted); returns a drawn token for each wanted one, or several."""
        batch, count = self._batch, len(feed)
        for index, (token, at, rows, wanted) in enumerate(feed):
            batch.token[index], batch.pos[index], batch.logits[index] = token, at, wanted
            batch.n_seq_id[index] = len(rows)
            for place, row in enumerate(rows):
                batch.seq_id[index][place] = self._stream[row]
        batch.n_tokens = count
        if code := llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError(f'llama_decode returned {code}')
        outputs = sum(wanted for *_, wanted in feed)
        pointer = llama_cpp.llama_get_logits(self._context)
        logits = np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (outputs, self._vocabulary))
        return self._draw(np.repeat(logits, copies, 0) if copies else logits)

    def _draw(self, logits):
        """A token a row at temperature 1: block, then place in the block, of the cumulated probability."""
        if self._greedy:
            return logits.argmax(1).tolist()
        odds = np.exp(logits - logits.max(1, keepdims=True)).reshape(len(logits), -1, 256)
        cumulated = odds.sum(2).cumsum(1, dtype=np.float64)
        point = self._random.random(len(odds)) * cumulated[:, -1]
        block = (cumulated <= point[:, None]).sum(1)
        rest = point - np.where(block > 0, cumulated[np.arange(len(odds)), block - 1], 0)
        inner = odds[np.arange(len(odds)), block].cumsum(1, dtype=np.float64)
        return (block * 256 + np.minimum((inner <= rest[:, None]).sum(1), 255)).tolist()


if __name__ == '__main__':
    serve(LlamaCpp())
