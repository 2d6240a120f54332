"""A process verifier of one's own: a tenth for every wrong equation (3 * 4 = 11) so far."""

import re
import sys
from itertools import accumulate

import jaxreason as jr
from jaxreason.core.protocols import Scored

EQUATION = re.compile(r'(?<![\d.])(\d{1,9}) ?([-+*]) ?(\d{1,9}) ?= ?(-?\d{1,18})(?![\d.])')
OPERATORS = {'+': int.__add__, '-': int.__sub__, '*': int.__mul__}


class Arithmetic:
    stats = frozenset()  # per-token statistics that it reads, such as 'logprob'

    def score(self, rows, carry):
        return Scored([tuple(map(self.value, accumulate(row.steps))) for row in rows], [jr.Cost()] * len(rows), carry)

    def value(self, text):
        return 0.1 ** sum(OPERATORS[sign](int(a), int(b)) != int(c) for a, sign, b, c in EQUATION.findall(text))

    def price(self, row, num_tokens, carry=None):
        return 0  # FLOPs


prompt = jr.PromptSpec(few_shot=1, answer_format='plain', step_delimiter='\n')
sampler = jr.Sampler(jr.load(sys.argv[1]), prompt=prompt, temperature=0.3, max_tokens=96)
for outcome in jr.BeamSearch(n=8, beam_width=2).solve(['Anna has 5 apples. She buys 3 more. How many?'], sampler, Arithmetic()):
    print(outcome.answer, *[candidate.scores for candidate in outcome.candidates])
