"""Reads an arithmetic or algebraic expression from tokens into its exact value.

Recursive descent over sum, product, power and atom; implicit products (`2x`, `3\\sqrt5`), mixed numbers (`3\\frac14`, `3 1/4`),
LaTeX arguments without braces (`\\frac12`), degrees inside trigonometric functions, percent signs. What it cannot read raises
`Unreadable`, what it will not compute `Refused`; nothing is ever evaluated as code.
"""

import dataclasses
import re
from fractions import Fraction

from jaxreason.data import functions
from jaxreason.data.exact import Expression, rational, symbol
from jaxreason.data.guards import MAX_EXPONENT, Refused, Unreadable
from jaxreason.data.latex_tokens import Token
from jaxreason.data.radicals import root

_END = Token('end', '')
_ANGLES = frozenset(('sin', 'cos', 'tan', 'cot', 'sec', 'csc'))
_FUNCTIONS = _ANGLES | frozenset(('arcsin', 'arccos', 'arctan', 'sinh', 'cosh', 'tanh', 'log', 'ln', 'lg', 'exp'))
_DECORATIONS = frozenset(('overline', 'vec', 'hat', 'mathbb', 'mathcal', 'widehat', 'tilde', 'underline'))
_NUMBER = re.compile(r'(\d*)(?:\.(\d*))?(?:\((\d+)\))?(\.\.\.)?(?:e([+-]?\d+))?')


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the tokens at the start of an item denote.

    Attributes:
        value: the exact value.
        used: number of tokens read.
        percent: whether a percent sign was applied.
        degrees: whether a degree sign stands outside any trigonometric function.
        has_alternatives: whether a plus-minus sign occurs.
        decimals: digits after the point, if the whole reading is one decimal number as written.
    """

    value: Expression
    used: int
    percent: bool
    degrees: bool
    has_alternatives: bool
    decimals: int | None


def read_expression(tokens: list[Token], *, upper: bool = True) -> Reading:
    """Reads as many tokens as make up one expression.

    Args:
        tokens: of one item, units and words after it included.
        upper: which sign a plus-minus takes.

    Raises:
        Unreadable: no expression starts here.
        Refused: its value is beyond what we compute.
    """
    parser = _Parser(tokens, upper)
    value = parser.sum()
    plain_decimal = re.fullmatch(r'\d*\.(\d+)', parser.first_number or '')
    decimals = len(plain_decimal[1]) if plain_decimal and parser.numbers == 1 and not parser.operations else None
    return Reading(value, parser.at, parser.percent, parser.degrees, parser.has_alternatives, decimals)


def read_number(text: str) -> Fraction:
    """The exact value of a number token: decimals, `4.5e3`, `0.1(6)`, `0.333...`."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise Unreadable('not a number')
    whole, decimals, block, ellipsis, exponent = match.groups()
    decimals = decimals or ''
    value = Fraction(int(whole + decimals or '0'), 10 ** len(decimals))
    if ellipsis:
        decimals, block = _repeated(decimals)
        value = Fraction(int(whole + decimals or '0'), 10 ** len(decimals))
    if block:
        value += Fraction(int(block), (10 ** len(block) - 1) * 10 ** len(decimals))
    if exponent:
        if abs(int(exponent)) > MAX_EXPONENT:
            raise Refused('exponent of ten too large')
        value *= Fraction(10) ** int(exponent)
    return value


def _repeated(decimals: str) -> tuple[str, str]:
    """The shortest start and block such that the block is seen at least twice (three times if it is one digit)."""
    for start in range(len(decimals)):
        for length in range(1, (len(decimals) - start) // 2 + 1):
            tail, block = decimals[start:], decimals[start : start + length]
            if len(tail) >= (2 if start else 3) and (block * len(tail))[: len(tail)] == tail and len(tail) >= 2 * length:
                return decimals[:start], block
    raise Refused('digits that go on without repeating')


class _Parser:
    def __init__(self, tokens: list[Token], upper: bool):
        self.tokens = list(tokens)
        self.at = 0
        self.upper = upper
        self.percent = self.degrees = self.has_alternatives = False
        self.in_angle = False
        self.in_bars = 0
        self.numbers = self.operations = 0
        self.first_number: str | None = None

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else _END

    def is_mark(self, text: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == 'mark' and token.text == text

    def is_command(self, text: str) -> bool:
        return self.peek().kind == 'command' and self.peek().text == text

    def expect(self, text: str) -> None:
        if not self.is_mark(text):
            raise Unreadable(f'expected {text}')
        self.at += 1

    def sum(self) -> Expression:
        value = self.signed()
        while (sign := self.sign()) is not None:
            self.operations += 1
            term = self.product()
            value = value + term if sign > 0 else value - term
        return value

    def sign(self) -> int | None:
        token = self.peek()
        if token.text in ('+', '-') and token.kind == 'mark':
            self.at += 1
            return 1 if token.text == '+' else -1
        if token.kind == 'command' and token.text in ('pm', 'mp'):
            self.at += 1
            self.has_alternatives = True
            return 1 if self.upper == (token.text == 'pm') else -1
        return None

    def signed(self) -> Expression:
        sign, total = self.sign(), 1
        while sign is not None:
            total *= sign
            sign = self.sign()
        value = self.product()
        return value if total > 0 else -value

    def product(self) -> Expression:
        value = self.factor()
        while True:
            if self.is_mark('*'):
                self.at += 1
                value = value * self.signed_factor()
            elif self.is_mark('/') and self.peek(1).kind != 'word':
                self.at += 1
                value = value / self.signed_factor()
            elif self.starts_factor():
                value = value * self.factor()
            else:
                return value
            self.operations += 1

    def signed_factor(self) -> Expression:
        sign = self.sign()
        return -self.signed_factor() if sign == -1 else self.signed_factor() if sign == 1 else self.factor()

    def starts_factor(self) -> bool:
        token = self.peek()
        if token.kind == 'letter':
            return not token.apart
        if token.kind == 'command':
            return token.text in _FUNCTIONS | _DECORATIONS | {'frac', 'sqrt', 'pi', 'binom', 'infty'}
        if token.kind == 'number':  # two numbers side by side are no product, save 2\cdot style powers such as x2
            return False
        return token.kind == 'mark' and (token.text in ('(', '{') or (token.text == '|' and not self.in_bars))

    def factor(self) -> Expression:
        value = self.mixed() or self.atom()
        while True:
            if self.is_mark('^'):
                self.at += 1
                value = functions.general_power(value, self.exponent())
                self.operations += 1
            elif self.is_mark('!'):
                self.at += 1
                value = functions.factorial(value)
                self.operations += 1
            elif self.is_mark('%'):
                self.at += 1
                self.percent = True
                value = value / rational(100)
            elif self.is_mark('deg'):
                self.at += 1
                if self.in_angle:
                    value = value * symbol('pi') / rational(180)
                else:
                    self.degrees = True
            else:
                return value

    def mixed(self) -> Expression | None:
        """A whole number directly before a proper fraction."""
        whole = self.peek()
        if whole.kind != 'number' or not whole.text.isdigit():
            return None
        if self.peek(1).kind == 'number' and self.is_mark('/', 2) and self.peek(3).kind == 'number' and self.peek(1).spaced:
            top, bottom = self.peek(1).text, self.peek(3).text
            if top.isdigit() and bottom.isdigit() and int(top) < int(bottom):
                self.at += 4
                self.numbers += 3
                return rational(int(whole.text) + Fraction(int(top), int(bottom)))
            return None
        if self.peek(1).kind != 'command' or self.peek(1).text != 'frac':
            return None
        before = self.at, list(self.tokens), self.numbers
        self.at += 1
        fraction = self.atom().constant
        if fraction is None or not 0 < fraction < 1:
            self.at, self.tokens, self.numbers = before
            return None
        self.numbers += 1
        return rational(int(whole.text) + fraction)

    def exponent(self) -> Expression:
        if self.is_mark('{'):
            return self.argument()
        sign = self.sign()
        value = self.atom()
        return -value if sign == -1 else value

    def argument(self) -> Expression:
        """A LaTeX argument: a group in braces, or the next single digit or atom."""
        if self.is_mark('{'):
            self.at += 1
            value = self.sum()
            self.expect('}')
            return value
        token = self.peek()
        if token.kind == 'number' and token.text.isdigit() and len(token.text) > 1:
            self.tokens[self.at : self.at + 1] = [Token('number', token.text[0]), Token('number', token.text[1:])]
        return self.atom()

    def atom(self) -> Expression:
        token = self.peek()
        self.at += 1
        if token.kind == 'number':
            if self.is_mark('_'):
                raise Unreadable('number in another base')
            self.numbers += 1
            self.first_number = self.first_number or token.text
            return rational(read_number(token.text))
        if token.kind == 'letter':
            return symbol(token.text + self.subscript())
        if token.kind == 'command':
            return self.command(token.text)
        if token.kind == 'mark' and token.text in ('(', '{', '['):
            value = self.sum()
            self.expect({'(': ')', '{': '}', '[': ']'}[token.text])
            return value
        if token.kind == 'mark' and token.text == '|':
            self.in_bars += 1
            value = self.sum()
            self.in_bars -= 1
            self.expect('|')
            return functions.absolute(value)
        raise Unreadable(f'unexpected {token.text or "end"}')

    def subscript(self) -> str:
        if not self.is_mark('_'):
            return ''
        self.at += 1
        if not self.is_mark('{'):
            self.at += 1
            return '_' + self.peek(-1).text
        depth, text = 0, ''
        while self.peek() is not _END:
            token = self.peek()
            self.at += 1
            depth += (token.text == '{') - (token.text == '}')
            if depth == 0:
                break
            text += token.text if token.text != '{' else ''
        return '_' + text

    def command(self, name: str) -> Expression:
        if name == 'frac':
            top = self.argument()
            return top / self.argument()
        if name == 'sqrt':
            return self.root()
        if name == 'binom':
            top = self.argument()
            return functions.binomial(top, self.argument())
        if name in ('pi', 'infty'):
            return symbol(name)
        if name in _DECORATIONS:
            return symbol(f'{name} {self.argument().key()}')
        if name in _FUNCTIONS:
            return self.function(name)
        raise Unreadable(f'command {name}')

    def root(self) -> Expression:
        degree = rational(2)
        if self.is_mark('['):
            self.at += 1
            degree = self.sum()
            self.expect(']')
        number = degree.constant
        if number is None or number.denominator != 1 or not 2 <= number <= 100:
            raise Unreadable('root of an unusual degree')
        radicand = self.argument() if self.is_mark('{') else self.atom()
        return root(radicand, int(number))

    def function(self, name: str) -> Expression:
        base = exponent = None
        for _ in range(2):
            if self.is_mark('_') and base is None:
                self.at += 1
                base = self.argument()
            elif self.is_mark('^') and exponent is None:
                self.at += 1
                exponent = self.exponent()
        if exponent is not None and exponent.constant == -1:
            raise Unreadable('inverse function')
        outer, self.in_angle = self.in_angle, name in _ANGLES
        value = functions.apply(name, self.operand(), base)
        self.in_angle = outer
        return value if exponent is None else functions.general_power(value, exponent)

    def operand(self) -> Expression:
        """What a function without brackets applies to: the product up to the next sign or function."""
        if self.is_mark('(') or self.is_mark('{'):
            value = self.atom()
            return functions.general_power(value, self.exponent_after()) if self.is_mark('^') else value
        value = self.factor()
        while self.peek().kind == 'letter' or (self.peek().kind == 'command' and self.peek().text == 'pi'):
            value = value * self.factor()
        return value

    def exponent_after(self) -> Expression:
        self.at += 1
        return self.exponent()
