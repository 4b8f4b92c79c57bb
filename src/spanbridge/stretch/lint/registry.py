# SPDX-License-Identifier: Apache-2.0
"""What a rule is: its texts, its example, and the function that looks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from spanbridge.kube.source import Document
from spanbridge.model.findings import Position, Severity

S = TypeVar("S")

MARKER: Final = "▶"
"""Stands in a wrong example in front of what is pointed at; taken out of the text."""


@dataclass(frozen=True, slots=True)
class Spot:
    """
    A place in a document, not yet turned into line and column.

    Attributes:
        document: The document.
        pointer: JSON pointer in it; the nearest ancestor counts where it is not there.
        at_key: The key is meant, not its value.
    """

    document: Document
    pointer: str = ""
    at_key: bool = False

    @property
    def position(self) -> Position:
        """Line and column."""
        locate = self.document.key_position if self.at_key else self.document.position
        return locate(self.pointer)


@dataclass(frozen=True, slots=True)
class Edit:
    """
    One change of a file's text that is safe to make.

    Attributes:
        file: The file.
        start: Offset in characters of the first one replaced.
        end: Offset behind the last one replaced.
        text: What stands there then.
    """

    file: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """
    One place where a rule is broken.

    Attributes:
        message: What is wrong, one sentence without a full stop at its end.
        spot: Where; a position where no document could be read.
        severity: Instead of the rule's.
        consequence: Instead of the rule's.
        remedy: Instead of the rule's.
        related: Other places that belong to it.
        edits: Changes that mend it without changing anything else.
    """

    message: str
    spot: Spot | Position
    severity: Severity | None = None
    consequence: str = ""
    remedy: str = ""
    related: tuple[Spot, ...] = ()
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule(Generic[S]):
    """
    One thing to look for.

    Attributes:
        code: Stable; never given to another rule.
        name: Short, in words joined by dashes.
        severity: How bad it is, where a hit does not say otherwise.
        summary: What is looked for, one sentence without a full stop.
        consequence: What happens in practice.
        remedy: What to write instead.
        check: Yields what it finds in a subject.
        wrong: File names with texts in which exactly this is found, at ``MARKER``.
        right: The same, mended: nothing at all is found.
        rows: Rows of the table in ``docs/reference/failures.md``.
        also: Rules that cannot but find something in the wrong example too.
    """

    code: str
    name: str
    severity: Severity
    summary: str
    consequence: str
    remedy: str
    check: Callable[[S], Iterable[Hit]]
    wrong: Mapping[str, str] = field(repr=False)
    right: Mapping[str, str] = field(repr=False)
    rows: tuple[int, ...] = ()
    also: tuple[str, ...] = ()


def conf(text: str) -> dict[str, str]:
    """Make an example of one CNI configuration file."""
    return {"net.conf": text}


def nad(config: str, *, name: str = "migration-net", file: str = "nad.yaml") -> dict[str, str]:
    """Make an example of one NetworkAttachmentDefinition with this configuration."""
    lines = "\n".join(f"    {line}" for line in config.strip("\n").split("\n"))
    return {
        file: f"""\
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: {name}
  namespace: openshift-cnv
spec:
  config: |
{lines}
"""
    }


HYPERCONVERGED: Final = """\
apiVersion: hco.kubevirt.io/v1beta1
kind: HyperConverged
metadata:
  name: kubevirt-hyperconverged
  namespace: openshift-cnv
spec:
  featureGates:
    decentralizedLiveMigration: true
  liveMigrationConfig:
    network: migration-net
"""
"""A cluster that migrates over the network of ``nad``."""
