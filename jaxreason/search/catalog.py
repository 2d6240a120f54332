"""From the `kind` of a configuration to the strategy class: the only place where a string chooses one."""

from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.borda import Borda
from jaxreason.search.budget_forcing import BudgetForcing
from jaxreason.search.deepconf import DeepConf
from jaxreason.search.dvts import DVTS
from jaxreason.search.greedy import Greedy
from jaxreason.search.lookahead import Lookahead
from jaxreason.search.majority import Majority
from jaxreason.search.rebase import Rebase
from jaxreason.search.revision import Revision
from jaxreason.search.strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    'greedy': Greedy,
    'majority': Majority,
    'best_of_n': BestOfN,
    'borda': Borda,
    'deepconf': DeepConf,
    'budget_forcing': BudgetForcing,
    'beam_search': BeamSearch,
    'lookahead': Lookahead,
    'dvts': DVTS,
    'rebase': Rebase,
    'revision': Revision,
}
