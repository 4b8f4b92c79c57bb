# SPDX-License-Identifier: Apache-2.0
"""
Rules for what the plugins refuse.

The plugin's own parsers say what is wrong and what to write instead; nothing is
described here a second time. A refusal is sorted under a code by the key it is about.
"""

from collections.abc import Callable, Iterator
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.model.findings import Severity
from spanbridge.stretch.lint.edits import replace_value
from spanbridge.stretch.lint.networks import Plugin
from spanbridge.stretch.lint.registry import Edit, Hit, Rule, Spot, conf

_FLAGS: Final = frozenset(
    {"isgateway", "isdefaultgateway", "forceaddress", "ipmasq", "hairpinmode", "promiscmode"}
    | {"preservedefaultvlan", "macspoofchk", "enabledad", "disablecontainerinterface"}
    | {"portisolation"}
)
_INTEGERS: Final = frozenset({"vlan", "mtu"})

_CODES: Final = {
    "cniversion": "SB020",
    "name": "SB021",
    "vlan": "SB022",
    "vlantrunk": "SB022",
    "mtu": "SB023",
    "bridge": "SB024",
    "hairpinmode": "SB025",
    "disablecontainerinterface": "SB026",
}
_WRONG_TYPE: Final = "SB027"
_OTHER: Final = "SB028"


def _key(plugin: Plugin, fault: InputError) -> str:
    """Name the top-level key that a refusal is about, in lower case."""
    tokens = fault.pointer.removeprefix(plugin.pointer).split("/")
    return tokens[1].lower() if len(tokens) > 1 else ""


def _value(plugin: Plugin, key: str) -> object:
    return plugin.root.take(key)


def _is_wrong_type(plugin: Plugin, key: str) -> bool:
    value = _value(plugin, key)
    if key in _FLAGS:
        return not isinstance(value, bool)
    return key in _INTEGERS and type(value) is not int


def code_of(plugin: Plugin, fault: InputError) -> str:
    """Sort a refusal under its code."""
    key = _key(plugin, fault)
    return _WRONG_TYPE if _is_wrong_type(plugin, key) else _CODES.get(key, _OTHER)


def _unquoted(plugin: Plugin, fault: InputError) -> tuple[Edit, ...]:
    """Take the quotes off a number or a boolean that was written as text."""
    value = _value(plugin, _key(plugin, fault))
    text = value.lower() if isinstance(value, str) else ""
    flag = _key(plugin, fault) in _FLAGS and text in {"true", "false"}
    number = _key(plugin, fault) in _INTEGERS and text.isascii() and text.isdigit()
    if not flag and not number:
        return ()
    return replace_value(plugin.document, fault.pointer, text if flag else str(int(text)))


def _refused(code: str) -> Callable[[Plugin], Iterator[Hit]]:
    def check(plugin: Plugin) -> Iterator[Hit]:
        for fault in plugin.faults:
            if code_of(plugin, fault) == code:
                edits = _unquoted(plugin, fault) if code == _WRONG_TYPE else ()
                yield Hit(
                    _told(fault),
                    Spot(plugin.document, fault.pointer),
                    remedy=fault.hint,
                    edits=edits,
                )

    return check


def _told(fault: InputError) -> str:
    return fault.message.removeprefix("cannot use ")


def ipam_refused(plugin: Plugin) -> Iterator[Hit]:
    """Tell what the IPAM plugin refuses."""
    for fault in plugin.ipam.faults:
        yield Hit(_told(fault), Spot(plugin.document, fault.pointer), remedy=fault.hint)


_GOOD: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "type": "bridge",
  "bridge": "br-lan"
}
"""


def _with(text: str) -> dict[str, str]:
    return conf(_GOOD.replace('"br-lan"', f'"br-lan",\n  {text}'))


_REFUSED: Final = (
    "ADD fails: every pod that asks for the network stays in ContainerCreating. The reference"
    " plugin finds some of these only after it has made a bridge."
)

PLUGIN_RULES: Final = (
    Rule(
        code="SB020",
        name="bad-cni-version",
        severity=Severity.ERROR,
        summary="The cniVersion is missing or not spoken",
        consequence="Missing means 0.1.0, which has no list of interfaces; Spanbridge refuses it,"
        " and so does Multus for a second network.",
        remedy='write "cniVersion": "1.0.0"',
        check=_refused("SB020"),
        wrong=conf(_GOOD.replace('"1.0.0"', '▶"0.2.0"')),
        right=conf(_GOOD),
    ),
    Rule(
        code="SB021",
        name="bad-network-name",
        severity=Severity.ERROR,
        summary="The network's name is missing or holds forbidden characters",
        consequence=_REFUSED,
        remedy="start with a letter or digit; go on with letters, digits, '_', '.', '-'",
        check=_refused("SB021"),
        wrong=conf(_GOOD.replace('"lan"', '▶"my lan"')),
        right=conf(_GOOD),
    ),
    Rule(
        code="SB022",
        name="bad-vlan",
        severity=Severity.ERROR,
        summary="A VLAN id or a trunk entry cannot be used",
        consequence=_REFUSED,
        remedy="VLAN ids are 1 to 4094; a trunk entry has id, or minID and maxID",
        check=_refused("SB022"),
        wrong=_with('"preserveDefaultVlan": false,\n  "vlan": ▶4095'),
        right=_with('"preserveDefaultVlan": false,\n  "vlan": 4094'),
    ),
    Rule(
        code="SB023",
        name="bad-mtu",
        severity=Severity.ERROR,
        summary="The MTU is out of range",
        consequence=_REFUSED,
        remedy="write 0 for the default, or 68 to 65535",
        check=_refused("SB023"),
        wrong=_with('"mtu": ▶40'),
        right=_with('"mtu": 9000'),
    ),
    Rule(
        code="SB024",
        name="bad-bridge-name",
        severity=Severity.ERROR,
        summary="The bridge's name, or that of its gateway interface, is not possible",
        consequence=_REFUSED,
        remedy="write at most 15 bytes without white space; the gateway's interface has"
        " .VLAN in addition",
        check=_refused("SB024"),
        wrong=conf(_GOOD.replace('"br-lan"', '▶"br-migration-net0"')),
        right=conf(_GOOD.replace('"br-lan"', '"br-mig"')),
    ),
    Rule(
        code="SB025",
        name="hairpin-and-promisc",
        severity=Severity.ERROR,
        summary="hairpinMode and promiscMode are both on",
        consequence=_REFUSED,
        remedy="keep one of the two",
        check=_refused("SB025"),
        wrong=_with('"promiscMode": true,\n  "hairpinMode": ▶true'),
        right=_with('"hairpinMode": true'),
    ),
    Rule(
        code="SB026",
        name="link-down-with-addresses",
        severity=Severity.ERROR,
        summary="disableContainerInterface leaves the link down although addresses are asked for",
        consequence="ADD fails. It is a key for networks of virtual machines, copied into one of"
        " pods.",
        remedy="remove disableContainerInterface; a migration network needs addresses",
        check=_refused("SB026"),
        wrong=_with(
            '"disableContainerInterface": ▶true,\n'
            '  "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}'
        ),
        right=_with('"ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}'),
    ),
    Rule(
        code="SB027",
        name="wrong-type",
        severity=Severity.ERROR,
        summary="A number or a boolean is written as something else",
        consequence=_REFUSED,
        remedy="write it without quotes",
        check=_refused("SB027"),
        wrong=_with('"hairpinMode": ▶"true"'),
        right=_with('"hairpinMode": true'),
    ),
    Rule(
        code="SB028",
        name="refused",
        severity=Severity.ERROR,
        summary="The bridge plugin refuses some other value",
        consequence=_REFUSED,
        remedy="write what the finding says",
        check=_refused("SB028"),
        wrong=_with('"args": {"cni": {"mac": ▶"01:00:5e:00:00:01"}}'),
        right=conf(_GOOD),
    ),
    Rule(
        code="SB050",
        name="ipam-refused",
        severity=Severity.ERROR,
        summary="The address management refuses its section",
        consequence="ADD fails after the bridge has been made; with the reference plugin the pod's"
        " link stays behind, so that the next try fails for another reason.",
        remedy="write what the finding says",
        check=ipam_refused,
        wrong=_with('"ipam": {"type": "host-local", "subnet": ▶"10.9.0.7/24"}'),
        right=_with('"ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}'),
    ),
)
