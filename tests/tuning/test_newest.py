import threading

from tests.tuning.trials import trial
from tuning.newest import Newest, Told

A_MOMENT_S = 0.2


def told(number: int, at_ms: int) -> Told:
    return Told(trial(number, 0.5), at_ms)


def test_of_what_waits_the_newest_is_taken_once() -> None:
    newest = Newest()

    sent = [newest.put(told(0, 1)), newest.put(told(0, 2)), newest.put(told(1, 3))]

    assert sent == [True, False, True]
    assert newest.take(0) == told(0, 2)
    assert newest.take(0) is None
    assert newest.put(told(0, 4))


class Interrupting(dict[int, Told]):
    """Lets another thread take while one looks whether something waits."""

    def __init__(self, newest: Newest) -> None:
        self.taken: list[Told | None] = []
        self.taker = threading.Thread(target=lambda: self.taken.append(newest.take(0)))

    def __contains__(self, number: object) -> bool:
        waits = super().__contains__(number)
        if waits:
            self.taker.start()
            self.taker.join(A_MOMENT_S)
        return waits


def test_what_is_put_while_another_thread_takes_is_not_forgotten() -> None:
    newest = Newest()
    newest._told = interrupting = Interrupting(newest)
    newest.put(told(0, 1))

    sent = newest.put(told(0, 2))
    interrupting.taker.join()

    assert sent or interrupting.taken == [told(0, 2)]
