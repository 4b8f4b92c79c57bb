# SPDX-License-Identifier: Apache-2.0
"""Doing one thing on many nodes at once, a bounded number at a time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final, TypeVar

AT_ONCE: Final = 8

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def on_each(do: Callable[[_Item], _Answer], items: Iterable[_Item]) -> list[_Answer]:
    """
    Call ``do`` on every item; the answers come in the order of the items.

    What has begun comes to its end before a failure, or Ctrl-C, is raised: nothing
    goes on behind the back of the cleaning up that follows.
    """
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="lab")
    try:
        pending = [pool.submit(do, item) for item in items]
        wait(pending)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [future.result() for future in pending]
