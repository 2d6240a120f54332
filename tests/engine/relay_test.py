"""The relay passes bytes on, and keeps the end of the far side from the near one."""

import socket
import time

import pytest

from jaxreason.engine.relay import Relay


@pytest.fixture
def ends():
    """The relay, its near end as JAX has it, and its far end as process 0 has it."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        relay = Relay(f'127.0.0.1:{listener.getsockname()[1]}')
        host, port = relay.address.split(':')
        with socket.create_connection((host, int(port)), timeout=10) as near:
            far, _ = listener.accept()
            far.settimeout(10)
            with far:
                yield relay, near, far


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_bytes_go_both_ways(ends):
    relay, near, far = ends
    near.sendall(b'to process 0')
    assert far.recv(100) == b'to process 0'
    far.sendall(b'back')
    assert near.recv(100) == b'back'
    assert relay.is_reached and not relay.is_lost


def test_the_end_of_process_0_is_noted_and_not_passed_on(ends):
    relay, near, far = ends
    near.sendall(b'x')  # left unread, so that the close is a reset: as after a kill
    far.close()
    wait_for(lambda: relay.is_lost)
    near.settimeout(0.5)
    for _ in range(3):
        near.sendall(b'still there?')
        with pytest.raises(TimeoutError):
            near.recv(1)


def test_what_jax_closes_itself_is_no_loss(ends):
    relay, near, far = ends
    near.close()
    assert far.recv(1) == b''
    far.close()
    time.sleep(0.2)
    assert not relay.is_lost


def test_a_target_that_is_not_there_refuses_and_may_come_later():
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    relay = Relay(f'127.0.0.1:{port}')
    host, near_port = relay.address.split(':')
    with socket.create_connection((host, int(near_port)), timeout=10) as near:
        assert near.recv(1) == b'' and not relay.is_reached
    with socket.create_server(('127.0.0.1', port)), socket.create_connection((host, int(near_port)), timeout=10):
        wait_for(lambda: relay.is_reached)
    assert relay.is_reached
