"""Twice as much as the service can do, in short; `python benchmarks/serve.py overload` does it for a minute."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from noref.serve.gate import BusyError, Gate

from ..load_script import load_script

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serve.py"


def test_twice_the_load_is_answered_with_200_and_503_in_the_same_memory(brightness):
    benchmark = load_script(BENCHMARK, "benchmark_serve")
    others, memory, _ = asyncio.run(benchmark.overload(4.0, str(brightness), least=2.0))
    assert others.met, others
    assert others.detail["200"] > 0
    assert others.detail["503"] > 0
    assert memory.met, memory


def test_a_request_waits_for_no_more_than_are_before_it():
    """So the time of an accepted request is bounded whatever is offered: (threads + waiting) / threads turns."""
    turns = []

    async def main():
        gate = Gate(threads=2, most=4)

        async def request(number):
            try:
                with gate.admit():
                    await gate.run(lambda: turns.append(number))
            except BusyError:
                return "busy"
            return "done"

        return await asyncio.gather(*(request(number) for number in range(10)))

    assert asyncio.run(main()) == ["done"] * 4 + ["busy"] * 6
    assert sorted(turns) == [0, 1, 2, 3]


def test_a_thread_that_works_for_nobody_keeps_its_turn_to_its_end():
    import threading

    release, started = threading.Event(), []

    async def main():
        gate = Gate(threads=1, most=9)

        def long():
            started.append("long")
            release.wait(20)

        first = asyncio.create_task(gate.run(long))
        while not started:
            await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(gate.run(lambda: started.append("second")))
        await asyncio.sleep(0.1)
        assert started == ["long"]
        release.set()
        await second

    asyncio.run(main())
    assert started == ["long", "second"]
