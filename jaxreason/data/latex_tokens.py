"""Cuts an answer in LaTeX, plain mathematics or prose into tokens.

One pass, no nesting: spacing and sizing commands vanish, synonyms become one spelling (`\\dfrac` and `\\frac`, `×` and
`\\cdot`), thousands separators are joined into their number, and runs of letters become words or single-letter variables.
What prose and mathematics share is settled by where it stands: letters that touch a digit are variables, letters set apart by
a space or by `\\text` are words.
"""

import re
from typing import NamedTuple

from jaxreason.data.guards import Unreadable
from jaxreason.data.units import SINGLE_LETTERS, is_unit


class Token(NamedTuple):
    """A piece of an answer.

    Attributes:
        kind: `number`, `letter`, `word`, `command`, `relation` or `mark`.
        text: one spelling for all synonyms.
        spaced: whether white space stands before it.
        apart: whether a `\\text` or the like set it apart from mathematics.
    """

    kind: str
    text: str
    spaced: bool = False
    apart: bool = False


_CHARACTERS = str.maketrans(
    {
        '−': '-', '‐': '-', '‑': '-', '‒': '-', '–': '-', '—': '-', '×': '*', '·': '*', '⋅': '*', '∗': '*', '÷': '/', '⁄': '/',
        '∕': '/', 'π': '\\pi ', '∞': '\\infty ', '√': '\\sqrt ', '≤': '\\le ', '⩽': '\\le ', '≥': '\\ge ', '⩾': '\\ge ',
        '≠': '\\ne ', '∪': '\\cup ', '∩': '\\cap ', '∈': '\\in ', '∅': '\\emptyset ', '°': '^\\circ ', '±': '\\pm ',
        '≈': '\\approx ', '½': '\\frac{1}{2}', '⅓': '\\frac{1}{3}', '⅔': '\\frac{2}{3}', '¼': '\\frac{1}{4}',
        '¾': '\\frac{3}{4}', '⅕': '\\frac{1}{5}', '⅖': '\\frac{2}{5}', '⅗': '\\frac{3}{5}', '⅘': '\\frac{4}{5}',
        '⅙': '\\frac{1}{6}', '⅚': '\\frac{5}{6}', '⅐': '\\frac{1}{7}', '⅛': '\\frac{1}{8}', '⅜': '\\frac{3}{8}',
        '⅝': '\\frac{5}{8}', '⅞': '\\frac{7}{8}', '⅑': '\\frac{1}{9}', '⅒': '\\frac{1}{10}', '²': '^2', '³': '^3',
        '⁴': '^4', '⁵': '^5', '⁶': '^6', '⁷': '^7', '⁸': '^8', '⁹': '^9', '…': '...', '\xa0': ' ', '\u2009': '\\,',
        '\u202f': '\\,', '\u2007': '\\,', '\u2002': ' ', '\u2003': ' ', '\u3000': ' ', '\u200b': None, '\u2060': None,
        '\ufeff': None, '’': "'", '‘': "'", '“': '"', '”': '"', '％': '%', '﹣': '-', '－': '-', '＋': '+', '＝': '=',
        '（': '(', '）': ')', '，': ',', '：': ':', '、': ',', '。': '.',
    }
)  # fmt: skip

_TEXT_COMMANDS = (
    'text|textbf|textit|textrm|textsf|texttt|textnormal|mbox|hbox|mathrm|mathbf|mathit|mathsf|operatorname\\*?|rm|bf'
)
_TEXT = re.compile(rf'\\(?:{_TEXT_COMMANDS})\s*\{{([^{{}}]*)\}}')
_OPEN, _CLOSE = '\x02', '\x03'  # stand for the borders of a \text; refused in input, so they cannot be forged
_SIZING = re.compile(r'\\(?:left|right|[bB]ig+[lrm]?|displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])\.?|\\[!]')
_THIN_COMMA = re.compile(r',\s*\\!\s*|\\!\s*,')  # a thousands separator, never a list
_SPACE = re.compile(r'(?:\s|\\[,;:> ]|~|\\q?quad(?![a-zA-Z])|\\(?:thinspace|enspace|medspace)(?![a-zA-Z]))+')
_GROUPED = re.compile(r'\d{1,3}(?:(?:\{,\}|\\[,;: ]|~)\d{3})+(?!\d)(?:\.\d+)?')  # never a list
_COMMAS = re.compile(r'\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?')  # a list inside brackets
_SPACED = re.compile(r'\d{1,3}(?: \d{3})+(?![\d/]|\s*/)(?:\.\d+)?')
_PLAIN = re.compile(r'\d+(?:\.\d+)?|\.\d+')
_SCIENTIFIC = re.compile(r'[eE][+-]?\d+(?![\w.])')
_COMMAND = re.compile(r'\\([a-zA-Z]+\*?|[^a-zA-Z])')
_RUN = re.compile(r"[^\W\d_]+(?:'[a-z]+)?(?:-[^\W\d_]{3,})*")

_SAME = {
    'dfrac': 'frac', 'tfrac': 'frac', 'cfrac': 'frac', 'nicefrac': 'frac', 'dbinom': 'binom', 'tbinom': 'binom',
    'leq': 'le', 'leqslant': 'le', 'geq': 'ge', 'geqslant': 'ge', 'neq': 'ne', 'varnothing': 'emptyset', 'lbrace': '{',
    'rbrace': '}', 'lvert': '|', 'rvert': '|', 'vert': '|', 'mid': '|', 'times': '*', 'cdot': '*', 'ast': '*', 'div': '/',
    'ldots': 'dots', 'cdots': 'dots', 'dotsc': 'dots', 'bar': 'overline', 'overleftrightarrow': 'overline',
    'overrightarrow': 'vec', 'lbrack': '[', 'rbrack': ']', 'lparen': '(', 'rparen': ')', 'land': 'and', 'lor': 'or',
    'wedge': 'and', 'vee': 'or', 'colon': ':', 'lt': '<', 'gt': '>', 'isin': 'in', 'pounds': '£', 'euro': '€', 'degree': 'circ',
    'langle': '(', 'rangle': ')', 'asin': 'arcsin', 'acos': 'arccos', 'atan': 'arctan', 'varphi': 'phi',
    'varepsilon': 'epsilon', 'vartheta': 'theta',
}  # fmt: skip
_RELATIONS = {'le': '<=', 'ge': '>=', 'ne': '!=', 'in': 'in', '<': '<', '>': '>', 'approx': '~', 'equiv': '~', 'sim': '~'}
_FUNCTIONS = frozenset(
    (
        'sin',
        'cos',
        'tan',
        'cot',
        'sec',
        'csc',
        'arcsin',
        'arccos',
        'arctan',
        'sinh',
        'cosh',
        'tanh',
        'log',
        'ln',
        'lg',
        'exp',
        'det',
        'gcd',
        'lcm',
        'max',
        'min',
        'floor',
        'ceil',
        'sqrt',
    )
)  # functions even without a backslash
_GREEK = frozenset(
    (
        'alpha',
        'beta',
        'gamma',
        'delta',
        'epsilon',
        'zeta',
        'eta',
        'theta',
        'iota',
        'kappa',
        'lambda',
        'mu',
        'nu',
        'xi',
        'rho',
        'sigma',
        'tau',
        'upsilon',
        'phi',
        'chi',
        'psi',
        'omega',
        'Gamma',
        'Delta',
        'Theta',
        'Lambda',
        'Xi',
        'Sigma',
        'Phi',
        'Psi',
        'Omega',
        'ell',
    )
)
_SHORT_WORDS = frozenset(
    (
        'or',
        'and',
        'is',
        'to',
        'of',
        'in',
        'by',
        'at',
        'no',
        'an',
        'be',
        'am',
        'pm',
        'mm',
        'cm',
        'km',
        'kg',
        'mg',
        'ml',
        'ft',
        'yd',
        'mi',
        'lb',
        'lbs',
        'oz',
        'hr',
        'min',
        'sec',
        'day',
    )
)
_MARKS = {'{': '\\{', '}': '\\}', '%': '%', '$': '$', '&': '&', '#': '#', '_': '_'}


def tokenize(text: str) -> list[Token]:
    """Cuts an answer into tokens.

    Args:
        text: already checked by `guards.check_text`, without surrounding math delimiters.

    Returns:
        Its tokens, one spelling for all synonyms.

    Raises:
        Unreadable: a character that no rule covers.
    """
    return _Tokenizer(_simplified(text)).run()


def unwrap_text(text: str) -> str:
    """Replaces `\\text{...}` and its kin by their content between border marks, innermost first."""
    for _ in range(4):
        text, changes = _TEXT.subn(lambda m: f'{_OPEN}{m[1]}{_CLOSE}', text)
        if not changes:
            break
    return text


def plain(text: str) -> str:
    """The answer without math delimiters, spacing, `\\text` and white space: what is compared when nothing else is."""
    text = _simplified(text)
    text = re.sub(r'\\[dtc]frac(?![a-z])', r'\\frac', text)
    return re.sub(r'[\x02\x03$]|\\[()\[\]]|\s', '', _SPACE.sub(' ', text)).rstrip('.,;')


def _simplified(text: str) -> str:
    text = _THIN_COMMA.sub('{,}', text.translate(_CHARACTERS))
    return unwrap_text(_SIZING.sub('', text))


class _Tokenizer:
    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.tokens: list[Token] = []
        self.brackets: list[str] = []  # open brackets that make a comma a separator, and braces that do not
        self.in_text = 0
        self.spaced = False

    def run(self) -> list[Token]:
        while self.at < len(self.text):
            space = _SPACE.match(self.text, self.at)
            if space and not self._number():
                self.spaced = True
                self.at = space.end()
            elif not space and not self._number() and not self._letters() and not self._command():
                self._mark()
        return self.tokens

    def _emit(self, kind: str, text: str) -> None:
        self.tokens.append(Token(kind, text, self.spaced, bool(self.in_text)))
        self.spaced = False

    def _number(self) -> bool:
        patterns = [_GROUPED, _PLAIN] if {'(', '['} & {*self.brackets[-1:]} else [_GROUPED, _COMMAS, _SPACED, _PLAIN]
        match = next((m for p in patterns if (m := p.match(self.text, self.at))), None)
        if match is None:
            return False
        digits = re.sub(r'[^\d.]', '', match[0])
        self.at = match.end()
        if exponent := _SCIENTIFIC.match(self.text, self.at):
            digits += exponent[0].lower()
            self.at = exponent.end()
        elif '.' in digits or self.text.startswith('.', self.at):
            digits = self._repeating(digits)
        self._emit('number', digits)
        return True

    def _repeating(self, digits: str) -> str:
        """Appends the repeating block in brackets: `0.\\overline{36}`, `0.(36)`, `0.333...`."""
        block = re.compile(r'(\.?)(?:\\(?:overline|bar|dot)\s*\{?(\d+)\}?|\((\d+)\))').match(self.text, self.at)
        if block and ('.' in digits) != bool(block[1]):
            self.at = block.end()
            return f'{digits}{block[1]}({block[2] or block[3]})'
        ellipsis = re.compile(r'(?:\.\.\.+|\s*\\(?:ldots|dots|cdots)(?![a-z]))').match(self.text, self.at)
        if ellipsis and '.' in digits:
            self.at = ellipsis.end()
            return digits + '...'
        return digits

    def _letters(self) -> bool:
        match = _RUN.match(self.text, self.at)
        if match is None:
            return False
        run, before = match[0], self.text[self.at - 1 : self.at]
        touches = bool(before) and (before.isdigit() or before in ')}')
        follows = self.text[match.end() : match.end() + 1]
        self.at = match.end()
        if self.in_text:
            single = len(run) == 1 and not (self.tokens and run in SINGLE_LETTERS and self.tokens[-1].kind != 'relation')
            self._emit('letter' if single else 'word', run)
        elif len(run) == 1:
            self._emit('letter', run)
        elif run.lower() in _FUNCTIONS or run in ('pi', 'infty', 'infinity', 'oo'):
            self._emit('command', {'infinity': 'infty', 'oo': 'infty'}.get(run, run.lower()))
        elif self._reads_as_word(run, touches, follows):
            self._emit('word', run)
        else:
            for letter in run:
                self._emit('letter', letter)
        return True

    def _reads_as_word(self, run: str, touches: bool, follows: str) -> bool:
        if touches:
            return len(run) >= 5 or is_unit(run) or run in ('am', 'pm', 'th', 'st', 'nd', 'rd')
        if follows and (follows in '^_' and not is_unit(run)):
            return False
        return len(run) >= 3 or run.lower() in _SHORT_WORDS

    def _command(self) -> bool:
        match = _COMMAND.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        name = _SAME.get(match[1], match[1])
        if name in _RELATIONS:
            self._emit('relation', _RELATIONS[name])
        elif name in _GREEK:
            self._emit('letter', name)
        elif name in _MARKS:
            if name in '{}':
                self._bracket('(' if name == '{' else ')')
            self._emit('mark', _MARKS[name])
        elif name == '\\':
            self._emit('mark', '\\\\')
        elif name in '*/|[]():<>£€':
            self._emit('mark', name)
        elif name in ('and', 'or'):
            self._emit('word', name)
        elif name in ('begin', 'end'):
            environment = re.compile(r'\s*\{([a-zA-Z]*)\*?\}(?:\{[clr|]*\})?').match(self.text, self.at)
            if environment is None:
                raise Unreadable('environment without a name')
            self.at = environment.end()
            self._bracket('(' if name == 'begin' else ')')
            self._emit('mark', f'{name}:{environment[1]}')
        else:
            self._emit('command', name)
        return True

    def _bracket(self, bracket: str) -> None:
        if bracket in '([{':
            self.brackets.append(bracket)
        elif self.brackets:
            self.brackets.pop()

    def _mark(self) -> None:
        text, at = self.text, self.at
        degree = re.compile(r'\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-z]))').match(text, at)
        if degree:
            self.at = degree.end()
            self._emit('mark', 'deg')
            return
        relation = re.compile(r'<=|>=|!=|==|=|<|>').match(text, at)
        if relation:
            self.at = relation.end()
            self._emit('relation', '=' if relation[0] == '==' else relation[0])
            return
        for spelling, mark in (('**', '^'), ('...', 'dots'), (_OPEN, ''), (_CLOSE, '')):
            if text.startswith(spelling, at):
                self.at += len(spelling)
                if mark:
                    self._emit('command' if mark == 'dots' else 'mark', mark)
                else:
                    self.in_text += 1 if spelling == _OPEN else -1
                    self.spaced = True
                return
        character = text[at]
        if character not in '+-*/^_!|()[]{},;:.%$€£¥¢₹&"\'?':
            raise Unreadable(f'character {character!r}')
        self.at += 1
        self._bracket(character) if character in '()[]{}' else None
        self._emit('mark', character)
