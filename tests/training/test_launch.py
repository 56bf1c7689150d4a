"""Which failure of several processes is told: the cause before its echoes, in words of any backend."""

from __future__ import annotations

import signal
from itertools import permutations
from types import SimpleNamespace

import pytest
from torch.distributed import DistBackendError, DistNetworkError, DistStoreError

from redheart.errors import UserError
from redheart.training import launch

GLOO = [
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:9",
    "[../third_party/gloo/gloo/transport/tcp/pair.cc:589] Read error [::1]:9: Connection reset by peer",
    "[../third_party/gloo/gloo/transport/tcp/pair.cc:459] writev [::1]:9: Broken pipe",
    "[/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting "
    "7200000ms for recv operation to complete",
    "Gloo connectFullMesh failed with [../gloo/transport/tcp/pair.cc:144] no error",
]
NCCL = [
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:268, remote process exited or "
    "there was a network error, NCCL version 2.21.5\nncclRemoteError: A call failed possibly due to "
    "a network error or a remote process exiting prematurely.",
    # Of a neighbour's end too: https://github.com/NVIDIA/nccl/issues/795
    "NCCL error in: ../ProcessGroupNCCL.cpp:1275, internal error, NCCL version 2.14.3\n"
    "ncclInternalError: Internal check failed.\nLast error:\nNet : Connection closed by remote peer",
    "NCCL error in: ../ProcessGroupNCCL.cpp:1333, unhandled system error\nncclSystemError: System "
    "call (e.g. socket, malloc) or external library call failed or device error.",
    "NCCL communicator was aborted on rank 1.",
    "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9, OpType=ALLREDUCE, "
    "Timeout(ms)=7200000) ran for 7200500 milliseconds before timing out.",
]
STORE = [
    DistNetworkError("Failed to recv, got 0 bytes. Connection was likely closed."),
    DistStoreError("wait timeout after 300000ms, keys: /default_pg/0//cpu//1"),
]
ECHOES = [*map(RuntimeError, GLOO), *map(DistBackendError, NCCL), *STORE]
KILLED = -signal.SIGKILL


def raised(error):
    """What a process writes down of an error."""
    try:
        raise error
    except Exception as caught:
        return launch.failure_of(caught)


@pytest.mark.parametrize("echo", [*ECHOES, RuntimeError(NCCL[0])], ids=str)
def test_what_talks_to_other_processes_fails_as_an_echo(echo):
    assert raised(echo).kind == "echo"


@pytest.mark.parametrize(
    "bug",
    [
        KeyError("a name that nobody has"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("it happened\nin /pytorch/third_party/gloo/gloo/allreduce.cc"),
        ConnectionResetError("of a socket of one's own"),
        ValueError("no gloo here"),
    ],
    ids=str,
)
def test_anything_else_is_a_bug(bug):
    assert raised(bug).kind == "bug"


@pytest.mark.parametrize("echo", ECHOES, ids=str)
def test_the_cause_is_told_whoever_fails_first_and_with_whatever_exit_code(echo):
    user, bug = UserError("out of memory (CUDA out of memory. Tried to allocate"), KeyError("name")
    for exit_code in (1, KILLED, -signal.SIGTERM, -signal.SIGABRT):
        for errors in permutations([echo, bug]):
            told = launch.told([raised(error) for error in errors], exit_code, None)
            assert isinstance(told, RuntimeError)
            assert "KeyError: 'name'" in str(told) and str(echo) not in str(told)
        for errors in permutations([echo, user, bug]):
            told = launch.told([raised(error) for error in errors], exit_code, None)
            assert isinstance(told, UserError) and str(told) == str(user)


@pytest.mark.parametrize("echo", ECHOES, ids=str)
def test_a_process_that_was_killed_is_told_and_not_its_echoes(echo):
    told = launch.told([raised(echo), raised(echo)], KILLED, None)
    assert isinstance(told, UserError)
    assert "a process of the training was killed, perhaps because main memory ran out" in str(told)


def test_a_process_without_a_word_was_killed():
    assert "was killed" in str(launch.told([], KILLED, None))
    assert "was killed" in str(launch.told([], 1, None))


def test_a_process_that_a_crash_ended_is_told_by_its_signal():
    """As NCCL's watchdog ends a process, by SIGABRT."""
    told = launch.told([raised(ECHOES[0])], -signal.SIGABRT, None)
    assert isinstance(told, UserError)
    assert "was ended by SIGABRT; what it printed says why" in str(told)


def test_a_signal_before_the_first_step_is_told_and_no_bug_is_hidden_by_it():
    told = launch.told([raised(ECHOES[0])], -signal.SIGTERM, signal.SIGTERM)
    assert isinstance(told, UserError) and "stopped by SIGTERM before its first" in str(told)
    told = launch.told([raised(KeyError("name"))], -signal.SIGTERM, signal.SIGTERM)
    assert "KeyError: 'name'" in str(told)


def test_where_there_is_nothing_but_echoes_all_are_told_with_their_places():
    told = launch.told([raised(ECHOES[0]), raised(ECHOES[5])], 1, None)
    assert isinstance(told, RuntimeError)
    assert GLOO[0] in str(told) and NCCL[0] in str(told) and "in raised" in str(told)


def test_what_is_raised_is_written_down_and_raised_on(tmp_path):
    for name, error in (("0", KeyError("name")), ("1", UserError("a ü 글")), ("2", ECHOES[0])):
        with pytest.raises(type(error)), launch.written_down(tmp_path / f"{name}.json"):
            raise error
    with launch.written_down(tmp_path / "3.json"):
        pass
    written = launch.read_failures(tmp_path)
    assert [failure.kind for failure in written] == ["bug", "user", "echo"]
    assert written[1].message == "a ü 글"
    assert "KeyError: 'name'" in written[0].traceback


def test_an_echo_waits_for_the_agent_and_no_other_error_does(tmp_path, monkeypatch):
    waited = []
    agent = SimpleNamespace(join=waited.append)
    monkeypatch.setattr(launch, "parent_process", lambda: agent)
    for error in (KeyError("name"), UserError("a"), ECHOES[0]):
        with pytest.raises(type(error)), launch.written_down(tmp_path / "a.json"):
            raise error
    assert waited == [launch.ECHO_WAITS_SECONDS]
