import dataclasses

from jaxreason.core.cost import Cost
from jaxreason.core.types import Finish, Question, Row


def test_a_row_with_other_values_is_what_replace_makes():
    row = Row(handle=3, question=Question('q', 'text'), sample=1, tokens=(1, 2), text='ab')
    before, changes = vars(row).copy(), {'tokens': (1, 2, 3), 'finish': Finish.STOP, 'cost': Cost(decode=7)}
    other = row.but(**changes)
    assert vars(other) == vars(dataclasses.replace(row, **changes)) and isinstance(other, Row)
    assert vars(row) == before and other != row
