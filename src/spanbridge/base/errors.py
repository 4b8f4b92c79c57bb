# SPDX-License-Identifier: Apache-2.0
r"""
Every error that Spanbridge raises on purpose, classed by what the caller does next.

::

    SpanbridgeError
    ├── InputError            mend what you gave; nothing was touched
    │   ├── VersionError      the cniVersion
    │   ├── CallError         a CNI environment variable or argument
    │   ├── DecodeError       not JSON, or not an object
    │   └── ConfigError       a field of the configuration; carries a JSON pointer
    ├── RetryError            try the same call again later
    ├── NotReadyError         STATUS: an ADD would fail now
    ├── NodeError             the node is not as needed; an administrator mends it
    │   ├── KernelError       the kernel refused; carries errno
    │   ├── AddressError      no address could be had
    │   └── DelegateError     another IPAM plugin failed
    ├── MismatchError         CHECK found something else than ADD promised
    ├── ReleaseError          DEL or GC went on after failures; carries them all
    └── BugError              ours

A message reads ``cannot <verb> <subject>: <cause>``; ``hint`` says what to write or
do instead.
"""

import enum
from collections.abc import Sequence


class Code(enum.IntEnum):
    """
    The CNI error codes we answer with: the only table of them in the code.

    Source: CNI specification 1.1.0, section "Error"; from 100 on they are ours and
    are explained in docs/reference/errors.md.
    """

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    CONTAINER_UNKNOWN = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODE_FAILURE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    NOT_AVAILABLE_LIMITED = 51
    INTERNAL = 100
    KERNEL = 101
    INTERFACE_EXISTS = 102
    BRIDGE_UNSUITABLE = 103
    FIREWALL = 104
    UPLINK_UNSUITABLE = 105
    ADDRESS_UNAVAILABLE = 110
    ADDRESSES_EXHAUSTED = 111
    ADDRESS_DUPLICATE = 112
    DELEGATE_FAILED = 113
    STORE = 114
    CHECK_MISMATCH = 120
    RELEASE_INCOMPLETE = 121


class SpanbridgeError(Exception):
    """
    Root of the tree.

    Attributes:
        message: ``cannot <verb> <subject>: <cause>``.
        hint: What to write or do instead; empty where nothing better is known.
        code: The CNI error code.
        pointer: RFC 6901 pointer to the bad field; empty where there is none.
    """

    code: Code = Code.INTERNAL

    def __init__(
        self, message: str, *, hint: str = "", pointer: str = "", code: Code | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.pointer = pointer
        if code is not None:
            self.code = code

    @property
    def details(self) -> str:
        """Where and what instead, in one line, as CNI's ``details`` wants it."""
        where = f"at {self.pointer}" if self.pointer else ""
        return "; ".join(part for part in (where, self.hint) if part)

    def __str__(self) -> str:
        return f"{self.message} ({self.details})" if self.details else self.message


class InputError(SpanbridgeError):
    """What was given is wrong; nothing was touched."""

    code = Code.INVALID_CONFIG


class VersionError(InputError):
    """The cniVersion is not spoken, or does not allow the verb."""

    code = Code.INCOMPATIBLE_VERSION


class CallError(InputError):
    """A CNI environment variable is missing or malformed; the message names it."""

    code = Code.INVALID_ENVIRONMENT


class DecodeError(InputError):
    """The input is not JSON, or not a JSON object."""

    code = Code.DECODE_FAILURE


class ConfigError(InputError):
    """A field of the network configuration is wrong; ``pointer`` says which."""

    code = Code.INVALID_CONFIG


class RetryError(SpanbridgeError):
    """The same call may pass later."""

    code = Code.TRY_AGAIN_LATER


class NotReadyError(SpanbridgeError):
    """An ADD would fail now (STATUS)."""

    code = Code.NOT_AVAILABLE


class NodeError(SpanbridgeError):
    """The node is not as the configuration needs it."""

    code = Code.KERNEL


class KernelError(NodeError):
    """
    The kernel refused a request.

    Attributes:
        errno: The positive error number.
    """

    code = Code.KERNEL

    def __init__(
        self, message: str, *, errno: int, hint: str = "", code: Code | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.errno = errno


class AddressError(NodeError):
    """No address could be had: taken, exhausted, or duplicate on the wire."""

    code = Code.ADDRESS_UNAVAILABLE


class DelegateError(NodeError):
    """
    Another IPAM plugin failed; its own code is passed on where it gave one.

    Attributes:
        delegate_code: The code that the delegate answered, 0 where it gave none.
    """

    code = Code.DELEGATE_FAILED

    def __init__(self, message: str, *, hint: str = "", delegate_code: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.delegate_code = delegate_code


class MismatchError(SpanbridgeError):
    """CHECK found something else than ADD promised."""

    code = Code.CHECK_MISMATCH


class ReleaseError(SpanbridgeError):
    """
    DEL or GC went on after failures.

    Attributes:
        causes: Every failure, in the order in which it happened.
    """

    code = Code.RELEASE_INCOMPLETE

    def __init__(self, message: str, causes: Sequence[Exception]) -> None:
        super().__init__(message + ": " + "; ".join(str(cause) for cause in causes))
        self.causes = tuple(causes)


class BugError(SpanbridgeError):
    """Our own mistake."""

    code = Code.INTERNAL
