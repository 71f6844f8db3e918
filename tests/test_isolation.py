"""A child process may abort, exit, hang or fail: the parent gets an error that says where, and goes on."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from small_nets import classifier, images
from tersor.errors import DataError, RuntimeFailure
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.runtimes import isolation
from tersor.runtimes.engine import Engine
from tersor.runtimes.isolation import Channel, Worker

# What the children of these tests do. A child imports this module by name.


def echo(channel: Channel) -> None:
    while True:
        channel.send(("ok", channel.receive()))


def abort(channel: Channel) -> None:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    channel.receive()
    os.abort()


def leave(channel: Channel) -> None:
    channel.receive()
    os._exit(3)


def hang(channel: Channel) -> None:
    channel.receive()
    time.sleep(600)


def fail_on_purpose(channel: Channel) -> None:
    raise DataError("sample 3 is odd")


def fail_by_accident(channel: Channel) -> None:
    raise ZeroDivisionError("by zero")


def chatter(channel: Channel) -> None:
    os.write(1, b"native code prints to stdout\n")
    sys.stdout.write("and Python too\n")
    sys.stdout.flush()
    channel.send(("ok", "intact"))
    channel.receive()


def flood(channel: Channel) -> None:
    os.write(2, b"warning\n" * 100_000)
    channel.send(("ok", "still here"))
    channel.receive()


def not_read(channel: Channel) -> None:
    """Answers before it has read anything, and more than a pipe holds."""
    for _ in range(8):
        channel.send(("ok", np.zeros(1 << 20, np.uint8)))
    channel.send(("end", None))
    echo(channel)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def worker(name: str, time_limit: float = 60.0) -> Worker:
    child = Worker(f"test_isolation:{name}", time_limit)
    child.doing = "testing"
    return child


def test_values_and_arrays_travel_both_ways() -> None:
    with worker("echo") as child:
        for value in (None, "text", {"a": np.arange(6).reshape(2, 3)}, [np.float32(1), b"bytes"], np.zeros((0, 3))):
            child.send(value)
            back = child.receive()
            np.testing.assert_equal(back, value)


def test_large_arrays_do_not_block() -> None:
    big = np.random.default_rng(0).integers(0, 255, 40 << 20, dtype=np.uint8)
    with worker("echo") as child:
        child.send([big, big.view(np.float32)])
        first, second = child.receive()
        assert np.array_equal(first, big)
        assert second.dtype == np.float32


def test_abort_is_an_error_that_names_the_signal_the_work_and_the_last_words() -> None:
    with worker("abort") as child:
        child.send("go")
        with pytest.raises(RuntimeFailure, match=r"crashed \(SIGABRT\) while testing: terminate called after"):
            child.receive()


def test_exit_is_an_error_with_its_status() -> None:
    with worker("leave") as child:
        child.send("go")
        with pytest.raises(RuntimeFailure, match=r"crashed \(exit status 3\) while testing"):
            child.receive()


def test_sending_to_a_dead_child_is_the_same_error() -> None:
    with worker("leave") as child:
        child.send("go")
        child._process.wait(10)
        with pytest.raises(RuntimeFailure, match="exit status 3"):
            child.send(np.zeros(1 << 20, np.uint8))


def test_child_that_hangs_is_stopped() -> None:
    start = time.monotonic()
    with worker("hang", time_limit=0.5) as child:
        child.send("go")
        with pytest.raises(RuntimeFailure, match=r"more than 0\.5 s while testing; it was stopped"):
            child.receive()
    assert time.monotonic() - start < 10


def test_child_that_stops_reading_is_stopped() -> None:
    with worker("hang", time_limit=0.5) as child:
        child.send("go")
        with pytest.raises(RuntimeFailure, match="it was stopped"):
            child.send(np.zeros(64 << 20, np.uint8))


def test_time_between_two_waits_does_not_count() -> None:
    with worker("echo", time_limit=3.0) as child:  # a child takes a second to start on a busy machine
        child.send("x")
        assert child.receive() == "x"
        time.sleep(3.3)
        child.send("y")
        assert child.receive() == "y"


def test_error_on_purpose_comes_back_as_it_was() -> None:
    with worker("fail_on_purpose") as child, pytest.raises(DataError, match="sample 3 is odd"):
        child.receive()


def test_other_errors_come_back_with_their_type() -> None:
    with worker("fail_by_accident") as child, pytest.raises(RuntimeFailure, match="ZeroDivisionError: by zero"):
        child.receive()


def test_what_native_code_prints_does_not_disturb(capfd: pytest.CaptureFixture[str]) -> None:
    with worker("chatter") as child:
        assert child.receive() == "intact"
    assert capfd.readouterr() == ("", "")


def test_flood_of_messages_does_not_block() -> None:
    with worker("flood") as child:
        assert child.receive() == "still here"


def test_answers_that_nobody_wants_are_drained() -> None:
    with worker("not_read") as child:
        child.drain()
        child.send("next")
        assert child.receive() == "next"


def test_what_was_asked_is_answered_in_order_whoever_waits_first() -> None:
    with worker("echo") as child:
        first, second = (child.ask(number, f"asking {number}") for number in (1, 2))
        child.send(3)
        assert child.receive() == 3
        assert (second.result(), first.result(), first.is_known) == (2, 1, True)


def test_failure_of_what_was_asked_names_it_and_not_what_is_being_done_by_then() -> None:
    with worker("abort") as child:
        answer = child.ask(1, "asking")
        child.doing = "something else"
        with pytest.raises(RuntimeFailure, match="while asking"):
            answer.result()


def test_what_follows_a_refused_piece_fails_with_its_reason(engine: Engine) -> None:
    store = engine.store()
    store.put({"x": [np.zeros(1, np.float32)]})
    store.advance(b"no model", ["x"], ["y"])
    asked = store.reducing(len, "y")
    with pytest.raises(RuntimeFailure, match="refuse the model"):
        asked()
    assert store.reduce(len, "x") == 1
    store.close()


def test_closing_ends_the_child_whatever_it_does() -> None:
    child = worker("hang")
    child.send("go")
    pid = child._process.pid
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    child.close()


def test_child_goes_when_its_parent_is_killed() -> None:
    """The pipe breaks, and the child's loop ends; nobody has to tell it."""
    child = worker("echo")
    child.send("x")
    assert child.receive() == "x"
    assert child._process.stdin is not None
    child._process.stdin.close()
    assert child._process.wait(10) == 0
    child.close()


def test_interrupt_from_the_terminal_is_left_to_the_parent() -> None:
    with worker("echo") as child:
        child.send("x")
        assert child.receive() == "x"
        os.kill(child._process.pid, signal.SIGINT)
        child.send("y")
        assert child.receive() == "y"


# The engine on top of it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tflite.write(classifier(), tmp_path / "net.tflite")
    return tmp_path / "net.tflite"


def test_engine_is_usable_after_a_refused_model_and_a_failed_run(path: Path, tmp_path: Path, engine: Engine) -> None:
    builder = Builder()
    bad = builder.model([builder.op("ADD", [builder.input("x", [3]), builder.input("y", [4])], [3])])
    tflite.write(bad, tmp_path / "bad.tflite")
    with pytest.raises(RuntimeFailure, match="the builtin kernels refuse the model"):
        engine.open(str(tmp_path / "bad.tflite"), "builtin")
    handle = engine.open(str(path))
    with pytest.raises(RuntimeFailure, match="fail to run the model"):
        handle.run([np.zeros((1, 2), np.float32)])
    assert handle.run([images(1)])[0].shape == (1, 5)


def test_stream_that_is_left_early_leaves_the_engine_in_step(path: Path, engine: Engine) -> None:
    handle = engine.open(str(path))
    answers = handle.run_all([image[np.newaxis]] for image in images(50))
    first = next(answers)
    answers.close()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(handle.run([images(50)[:1]])[0], first[0])


def test_stream_whose_source_fails_leaves_the_engine_in_step(path: Path, engine: Engine) -> None:
    def source() -> Iterator[list[np.ndarray]]:
        for image in images(20):
            yield [image[np.newaxis]]
        raise KeyError("source")

    handle = engine.open(str(path))
    with pytest.raises(KeyError, match="source"):
        list(handle.run_all(source()))
    assert handle.run([images(1)])[0].shape == (1, 5)


def test_answers_keep_the_order_of_the_samples_whatever_the_threads(path: Path, engine: Engine) -> None:
    samples = [[image[np.newaxis]] for image in images(60)]
    one = [outputs[0] for outputs in engine.open(str(path)).run_all(samples)]
    four = [outputs[0] for outputs in engine.open(str(path), copies=4).run_all(samples)]
    assert len(one) == 60
    np.testing.assert_array_equal(np.stack(one), np.stack(four))


def test_many_large_inputs_and_outputs_do_not_deadlock(tmp_path: Path, engine: Engine) -> None:
    builder = Builder()
    y = builder.op("NEG", [builder.input("x", [1, 1 << 20])], [1, 1 << 20])
    tflite.write(builder.model([y]), tmp_path / "wide.tflite")
    handle = engine.open(str(tmp_path / "wide.tflite"), copies=2)
    values = np.arange(1 << 20, dtype=np.float32)[np.newaxis]
    answers = list(handle.run_all([values + number] for number in range(24)))
    assert [float(-outputs[0][0, 0]) for outputs in answers] == list(range(24))


def test_missing_file_is_a_failure_of_the_runtime(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(RuntimeFailure, match="refuse the model"):
        engine.open(str(tmp_path / "missing.tflite"))


# The other end may have another NumPy


@pytest.mark.parametrize("inside", [b"numpy.core.", b"numpy._core."])
def test_arrays_of_another_numpy_are_read(inside: bytes) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    body = pickle.dumps(values, protocol=0)  # the one protocol that names modules without their length
    assert b"numpy._core." in body
    body = body.replace(b"numpy._core.", inside)
    message = (1).to_bytes(4, "little") + len(body).to_bytes(8, "little") + body
    np.testing.assert_array_equal(Channel(io.BytesIO(message), io.BytesIO()).receive(), values)


def unreadable_to_the_child() -> None:
    """Stands for something that the child cannot import."""


def test_what_the_child_cannot_read_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreadable_to_the_child, "__module__", "tersor.nowhere")
    module = ModuleType("tersor.nowhere")
    module.unreadable_to_the_child = unreadable_to_the_child  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tersor.nowhere", module)
    with Engine(time_limit=30) as engine, pytest.raises(RuntimeFailure, match=r"No module named 'tersor\.nowhere'"):
        engine.store().reduce(unreadable_to_the_child, "x")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_interrupt_while_waiting_gives_the_child_up_and_no_failure_takes_its_place() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with worker("hang") as child:
            child.send("go")
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                child.receive()
            assert child.is_dead
            with pytest.raises(KeyboardInterrupt):
                child.send("tidy up")  # what would end in a failure otherwise, which somebody may catch
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_child_that_was_started_ahead_is_taken_by_the_first_worker() -> None:
    target = f"{__name__}:echo"
    with isolation.started_ahead([target]):
        ahead = isolation._AHEAD[target][0].pid
        with Worker(target) as first, Worker(target) as second:
            assert (first._process.pid, second._process.pid != ahead) == (ahead, True)
            for worker in (first, second):
                worker.send("yes")
                assert worker.receive() == "yes"


def test_a_child_that_was_not_needed_is_ended() -> None:
    with isolation.started_ahead([f"{__name__}:echo"]):
        process, stderr = isolation._AHEAD[f"{__name__}:echo"]
    assert process.returncode == -signal.SIGKILL
    assert stderr.closed
    assert not isolation._AHEAD


def test_a_child_that_cannot_be_started_ahead_is_the_trouble_of_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python")
    with isolation.started_ahead([f"{__name__}:echo"]), pytest.raises(RuntimeFailure, match="cannot be started"):
        Worker(f"{__name__}:echo")
