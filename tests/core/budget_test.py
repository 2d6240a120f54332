import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.budget import Budget, most_tokens
from jaxreason.core.cost import FREE, Cost, total

counts = st.integers(0, 1000)
costs = st.builds(Cost, *[counts] * len(Cost._fields))


def test_costs_add_field_by_field():
    a, b = Cost(prefill=1, decode=2, new_tokens=3), Cost(decode=10, verify=20, probe=40)
    assert a + b == Cost(prefill=1, decode=12, verify=20, probe=40, new_tokens=3)
    assert (a + b).flops == 73
    assert total([]) == FREE and total([a, b, a]) == a + b + a


@given(costs, costs)
def test_spending_twice_is_spending_the_sum(a, b):
    budget = Budget(generations=5, tokens=900, flops=2500)
    assert budget - a - b == budget - (a + b)
    assert (budget - a).generations == 5


def test_what_is_lookahead_or_discarded_is_not_counted_twice():
    assert Cost(decode=10, lookahead=4, discarded=3).flops == 10


def test_no_limit_stays_no_limit_and_the_tightest_wins():
    assert Budget() - Cost(decode=10**20) == Budget()
    assert Budget(tokens=5).tightest(Budget(tokens=3, flops=7)) == Budget(tokens=3, flops=7)
    assert Budget(tokens=5).limits == {'tokens': 5}


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match='budget.tokens must be at least 0 or absent, got -1'):
        Budget(tokens=-1)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 200))
def test_most_tokens_is_the_largest_affordable_number(prices, flops):
    def price(m):
        return sum(prices[:m])

    found = most_tokens(price, flops, len(prices))
    expected = max(m for m in range(len(prices) + 1) if price(m) <= flops)
    assert price(found) == price(expected) and found == expected


def test_shares_are_even_and_use_everything_up():
    left, spent = Budget(tokens=10, flops=7, generations=3), []
    for parts in (4, 3, 2, 1):
        share = left.share(parts)
        assert share.generations == 3
        spent.append((share.tokens, share.flops))
        left = left - Cost(new_tokens=share.tokens, decode=share.flops)
    assert spent == [(3, 2), (3, 2), (2, 2), (2, 1)] and left.tokens == left.flops == 0
    assert Budget().share(3) == Budget()
