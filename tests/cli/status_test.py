"""Progress is told to whoever listens."""

from jaxreason.cli import status


def test_what_is_told_is_heard_by_the_last_listener(monkeypatch):
    monkeypatch.setattr(status, '_listener', None)
    status.tell(1, 2, 3.0, None)
    heard, also = [], []
    status.listen(lambda *words: also.append(words))
    status.listen(lambda *words: heard.append(words))
    status.tell(1, 2, 3.0, None)
    assert heard == [(1, 2, 3.0, None)] and also == []
