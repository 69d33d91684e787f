"""UnixEpoch stays constant under preemption, and follows a clock that is set."""

from collections.abc import Iterable

from flowd.capture.kernel.clock import STEP_NS, UnixEpoch

EPOCH = 1_700_000_000 * 10**9


class Machine:
    """Two clocks that advance at each read by the next value of `takes`, otherwise by 100 ns."""

    def __init__(self, epoch: int = EPOCH) -> None:
        self.epoch = epoch
        self.now = 5 * 10**9
        self.takes: list[int] = []

    def delay(self, takes: Iterable[int]) -> None:
        self.takes = list(takes)

    def monotonic(self) -> int:
        self.now += self.takes.pop(0) if self.takes else 100
        return self.now

    def unix(self) -> int:
        return self.epoch + self.monotonic()

    def clock(self) -> UnixEpoch:
        return UnixEpoch(self.unix, self.monotonic)


def test_a_pause_between_two_readings_moves_no_time_stamp() -> None:
    for paused in range(3):
        machine = Machine()
        epoch = machine.clock()
        first = epoch.now()
        assert abs(first - EPOCH) <= 100
        machine.delay(50 * STEP_NS if at == paused else 100 for at in range(3))
        assert epoch.now() == first
        assert epoch.now() == first


def test_a_pause_at_the_very_beginning_does_not_count_either() -> None:
    machine = Machine()
    machine.delay([100, 50 * STEP_NS, 100])
    assert abs(machine.clock().now() - EPOCH) <= 100


def test_a_clock_that_is_set_is_followed() -> None:
    for step in (-3600 * 10**9, -2 * STEP_NS, 2 * STEP_NS, 3600 * 10**9):
        machine = Machine()
        epoch = machine.clock()
        epoch.now()
        machine.epoch += step
        assert abs(epoch.now() - EPOCH - step) <= 100


def test_small_differences_are_those_of_reading() -> None:
    machine = Machine()
    epoch = machine.clock()
    first = epoch.now()
    machine.epoch += STEP_NS // 2
    assert epoch.now() == first
