# SPDX-License-Identifier: Apache-2.0
"""
Killing our own code at every change that it makes, one after the other.

A change is what is sent to change the kernel's state, or a call that changes a file. The
code runs in a child that kills itself with SIGKILL before the n-th of them, so nothing of
it can clean up.
"""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, Final

from spanbridge.rtnl.messages import is_question
from spanbridge.rtnl.transport import Transport

STEPS_MAX: Final = 200

_FILE_CALLS: Final = ("open", "mkdir", "rename", "replace", "unlink", "fsync")


def killed_at_every_change(work: Callable[[], object]) -> Iterator[int]:
    """
    Run ``work`` again and again, each time killed one change later; the changes survived.

    The loop's body puts things right, or checks that the next call does. It ends after a
    run that was not killed, which it is not told of.
    """
    for step in range(STEPS_MAX):
        pid = os.fork()
        if pid == 0:
            _work_and_end(work, step)
        status = os.waitpid(pid, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the call failed by itself"
            assert step, "the call changed nothing"
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        yield step
    raise AssertionError(f"the call made more than {STEPS_MAX} changes")


def _work_and_end(work: Callable[[], object], survive: int) -> None:
    left = [survive]

    def before_a_change(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # any call at all
            if not reads(call, args):
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            return call(*args, **kwargs)

        return counted

    opens, asks = os.open, Transport.ask

    def reads(call: object, args: tuple[Any, ...]) -> bool:
        if call is opens:
            return not args[1] & (os.O_WRONLY | os.O_RDWR)
        return call is asks and all(map(is_question, args[1:]))

    Transport.ask = before_a_change(asks)  # type: ignore[method-assign]  # in a child that is about to end
    Transport._exchange = before_a_change(Transport._exchange)  # type: ignore[method-assign]  # noqa: SLF001  # likewise
    for name in _FILE_CALLS:
        setattr(os, name, before_a_change(getattr(os, name)))
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)
