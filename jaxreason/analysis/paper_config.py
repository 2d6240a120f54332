"""What the page about the paper is made from: run folders by their part in it, and the labels of the strategies to show."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchLabels:
    """How the run of searches names what the page compares.

    Attributes:
        majority: votes without a verifier.
        best_of_n: weighted best-of-N by the PRM's last score, the paper's baseline.
        orm: the same by the ORM.
        single: the single best solution.
        beam: beam search.
        lookahead: lookahead search.
        greedy: greedy decoding.
        aggregations: weighted best-of-N by other readings of the steps' scores, by the name of the reading.
    """

    majority: str = 'majority'
    best_of_n: str = 'best-of-n'
    orm: str = 'best-of-n, orm'
    single: str = 'best-of-n, single'
    beam: str = 'beam'
    lookahead: str = 'lookahead'
    greedy: str = 'greedy'
    aggregations: dict[str, str] = dataclasses.field(
        default_factory=lambda: {'min': 'best-of-n, min', 'prod': 'best-of-n, prod', 'mean': 'best-of-n, mean'}
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RevisionRuns:
    """The runs of the part on revisions.

    Attributes:
        run: of `evaluate`: chains of every ratio, by majority and by the ORM.
        difficulty: of `difficulty`, on the same questions and of the same model.
        fit: of `fit`, over the ratios.
    """

    run: str
    difficulty: str
    fit: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """A page about Snell et al. (2024), in the order of the paper.

    Attributes:
        search: run folder of `evaluate`: searches on fresh questions.
        difficulty: run folder of `difficulty` on these questions.
        fit: run folder of `fit` over both.
        labels: of the strategies in `search`.
        revisions: the part on revisions; None to leave it out.
        duel: run folder of `match`; None to leave it out.
    """

    search: str
    difficulty: str
    fit: str
    labels: SearchLabels = SearchLabels()
    revisions: RevisionRuns | None = None
    duel: str | None = None
