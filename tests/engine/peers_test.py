"""What processes tell each other, on a board in memory: text, lines, signs of life, notices."""

import threading
import time

import pytest

from jaxreason.core.errors import ProcessError
from jaxreason.engine import peers as peers_module
from jaxreason.engine.peers import Ears, Peers

ROUND = 0.02


class Board:
    """A board that can be cut off."""

    def __init__(self):
        self.values = {}
        self.is_lost = False
        self.is_mute = False

    def _answer(self):
        if self.is_mute:
            raise RuntimeError('UNAVAILABLE')

    def put(self, name, value):
        self._answer()
        self.values[name] = value

    def get(self, name, seconds=0.0):
        self._answer()
        deadline = time.monotonic() + seconds
        while name not in self.values and time.monotonic() < deadline:
            time.sleep(0.002)
        return self.values.get(name)

    def folder(self, name):
        self._answer()
        return {key[len(name) + 1 :]: value for key, value in list(self.values.items()) if key.startswith(f'{name}/')}

    def delete(self, name):
        self.values.pop(name, None)


@pytest.fixture
def board():
    return Board()


@pytest.fixture
def make(board):
    """Makes a process on the board; returns it and what its ears have heard."""
    made = []

    def run(index, count=2, silent_rounds=10_000, on=board):
        heard = []
        ears = Ears(lambda line: heard.append(('stop', line)), lambda line: heard.append(('lost', line)))
        made.append(Peers(on, index, count, ears, silent_rounds, ROUND))
        return made[-1], heard

    yield run
    for peers in made:
        peers.leave()


def at_once(*calls):
    """Runs calls side by side; returns what they return."""
    found = [None] * len(calls)

    def run(index):
        found[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return found


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def test_a_process_alone_hears_itself_and_starts_nothing():
    before = threading.active_count()
    alone = Peers()
    assert alone.is_first and alone.exchange('x', 'text') == ['text'] and alone.others() == (0, 0)
    alone.give_notice('stop', 'nobody is there to hear')
    alone.leave()
    assert threading.active_count() == before


@pytest.mark.parametrize('piece', [1 << 19, 5])
def test_every_process_gets_the_text_of_every_process(make, monkeypatch, piece):
    monkeypatch.setattr(peers_module, '_PIECE', piece)
    texts = ['', 'ü\n' * 3, 'x' * 100]
    processes = [make(index, 3)[0] for index in range(3)]
    for _ in range(2):  # the same word again is another exchange
        found = at_once(*(lambda p=p, t=t: p.exchange('word', t) for p, t in zip(processes, texts, strict=True)))
        assert found == [texts] * 3
        texts = texts[::-1]


@pytest.mark.parametrize('lines', [[], ['one'], [f'line {number} ü' for number in range(60)], ['x' * 500, '', 'y']])
def test_lines_arrive_in_order_and_few_pieces_lie_about(make, board, monkeypatch, lines):
    monkeypatch.setattr(peers_module, '_PIECE', 16)
    first, second = make(0)[0], make(1)[0]
    most = []

    def receive():
        for line in first.receive(1):
            most.append(len(board.folder('lines/1')))
            yield line

    _, found = at_once(lambda: second.send(lines), lambda: list(receive()))
    assert found == lines and max(most, default=0) <= 4
    assert not board.folder('lines/1'), 'what was taken is deleted'


def test_waiting_is_ended_by_what_the_tick_raises(make):
    first, _ = make(0)

    def tick():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.exchange('x', '', tick)


def test_process_0_knows_how_far_the_others_are(make):
    first, second, third = (make(index, 3)[0] for index in range(3))
    second.tell(3, 100)
    third.tell(4, 50)
    wait_for(lambda: first.others() == (7, 150))


@pytest.mark.parametrize('who', [0, 1])
def test_an_interrupted_process_stops_the_others(make, who):
    (first, heard_first), (second, heard_second) = make(0), make(1)
    at_once(lambda: first.exchange('x', ''), lambda: second.exchange('x', ''))
    began = time.monotonic()
    (first, second)[who].give_notice('stop', 'interrupted')
    assert time.monotonic() - began < 2, 'it leaves as soon as it was heard'
    heard = (heard_second, heard_first)[who]
    wait_for(lambda: heard)
    assert len(heard) == 1 and heard[0][0] == 'stop'
    assert heard[0][1].startswith(f'process {who} (') and heard[0][1].endswith('was interrupted')
    assert not (heard_first, heard_second)[who]


def test_a_failure_is_told_with_its_reason(make):
    (_, heard), (second, _) = make(0), make(1)
    second.give_notice('failed', 'the disk is full')
    wait_for(lambda: heard)
    assert heard[0][0] == 'lost' and 'stopped: the disk is full; what is finished is on disk: rerun' in heard[0][1]


def test_silence_is_noticed_by_process_0_and_told_to_the_rest(make):
    (_, heard_first), (second, _), (_, heard_third) = (make(index, 3, silent_rounds=20) for index in range(3))
    wait_for(lambda: heard_first or second._round > 3)
    second.leave()  # no heartbeat any more, as if it were dead
    wait_for(lambda: heard_first and heard_third)
    for heard in (heard_first, heard_third):
        assert len(heard) == 1 and heard[0][0] == 'lost'
        assert heard[0][1].startswith('process 1') and 'died or hangs: nothing heard for' in heard[0][1]


def test_nobody_who_still_beats_is_taken_for_dead(make):
    (_, heard_first), (_, heard_second) = (make(index, silent_rounds=25) for index in range(2))
    time.sleep(60 * ROUND)
    assert not heard_first and not heard_second


@pytest.mark.parametrize('how', ['is_lost', 'is_mute'])
def test_the_loss_of_process_0_is_noticed(make, board, how):
    (first, _), (second, heard) = make(0, silent_rounds=10), make(1, silent_rounds=10)
    at_once(lambda: first.exchange('x', ''), lambda: second.exchange('x', ''))
    first.leave()
    setattr(board, how, True)
    wait_for(lambda: heard)
    assert heard[0][0] == 'lost' and heard[0][1].startswith('process 0 (') and 'rerun' in heard[0][1]


def test_a_board_that_never_answers_ends_a_wait(make, board):
    second, _ = make(1, silent_rounds=5)
    board.is_mute = True
    with pytest.raises(ProcessError, match='process 0.* does not answer.*rerun'):
        second.exchange('x', '')
