# SPDX-License-Identifier: Apache-2.0
"""Address management by another program in CNI_PATH, and results that are passed on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.modes import in_one_shot_mode
from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Delegate = Callable[[str], dict[str, str]]
Called = Callable[[], list[str]]
Addresses = Callable[[Netns, str], list[str]]

ANSWER: Final[Conf] = {
    "cniVersion": "1.1.0",
    "ips": [{"address": "10.1.2.9/24", "gateway": "10.1.2.1"}],
    "routes": [{"dst": "192.0.2.0/24"}],
    "dns": {"nameservers": ["192.0.2.53"]},
}


def _says(document: object) -> str:
    return f"cat > /dev/null; echo '{json.dumps(document)}'"


@pytest.fixture
def fake(conf: MakeConf) -> MakeConf:
    """A factory of configurations with the IPAM plugin `fake`."""
    return lambda **fields: conf(ipam={"type": "fake", "odd key": [1, None]}, **fields)


def test_what_the_program_answers_is_used(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate, addresses: Addresses, version: str
) -> None:
    answer = ANSWER | {"cniVersion": version}
    result = cni.add(fake(cniVersion=version), pod, env=delegate(_says(answer)))

    assert addresses(pod, "eth0") == ["10.1.2.9/24"]
    assert "192.0.2.0/24 via 10.1.2.1" in pod.run("ip", "route")
    assert result["dns"] == {"nameservers": ["192.0.2.53"]}


def test_the_program_gets_the_very_bytes_that_we_got(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate, tmp_path: Path
) -> None:
    body = f"cat > \"{tmp_path}/stdin\"; echo '{json.dumps(ANSWER)}'"
    stdin = b"\n \t" + json.dumps(fake(note="ä\t")).encode() + b"  \n"

    assert cni.call("ADD", stdin, pod, env=delegate(body)).result

    assert (tmp_path / "stdin").read_bytes() == stdin


def test_the_program_gets_the_variables_of_the_protocol(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate, tmp_path: Path
) -> None:
    env = delegate(f'env > "{tmp_path}/env"; {_says(ANSWER)}')
    args = "IgnoreUnknown=1;K8S_POD_NAME=x"

    cni.add(fake(), pod, container="c7", ifname="net3", args=args, env=env)

    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert seen["CNI_COMMAND"] == "ADD"
    assert (seen["CNI_CONTAINERID"], seen["CNI_IFNAME"]) == ("c7", "net3")
    assert (seen["CNI_NETNS"], seen["CNI_ARGS"]) == (str(pod.path), args)
    assert seen["CNI_PATH"] == env["CNI_PATH"]
    assert seen["PATH"]


# Of the caller's environment, the shim hands on what belongs to the protocol.
@in_one_shot_mode
def test_the_program_gets_the_rest_of_our_environment(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate, tmp_path: Path
) -> None:
    env = delegate(f'env > "{tmp_path}/env"; {_says(ANSWER)}') | {"EXTRA": "kept"}

    cni.add(fake(), pod, env=env)

    assert "EXTRA=kept" in (tmp_path / "env").read_text().splitlines()


def test_every_verb_is_passed_on(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate, called: Called
) -> None:
    env = delegate(f"""
if [ "$CNI_COMMAND" = ADD ]; then {_says(ANSWER)}; fi""")
    conf = fake()
    result = cni.add(conf, pod, env=env)
    assert cni.check(conf, pod, result, env=env).result is None
    assert cni.call("STATUS", conf, env=env).result is None
    cni.delete(conf, pod, env=env)

    assert called() == ["ADD", "CHECK", "STATUS", "DEL"]


@pytest.mark.parametrize("said", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
@pytest.mark.parametrize("asked", ["0.3.1", "1.1.0"])
def test_a_result_of_another_version_is_understood(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate, said: str, asked: str
) -> None:
    ip = ANSWER["ips"][0] | ({"version": "4"} if said < "1" else {})

    answer = ANSWER | {"cniVersion": said, "ips": [ip]}
    result = cni.add(fake(cniVersion=asked), pod, env=delegate(_says(answer)))

    assert result["cniVersion"] == asked
    assert result["ips"][0]["address"] == "10.1.2.9/24"


def test_interfaces_that_the_program_names_are_ours_to_name(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate
) -> None:
    ip = ANSWER["ips"][0] | {"interface": 5}
    answer = ANSWER | {"ips": [ip], "interfaces": [{"name": "theirs"}]}

    result = cni.add(fake(), pod, env=delegate(_says(answer)))

    assert [each["name"] for each in result["interfaces"]][::2] == ["br0", "eth0"]
    assert result["ips"][0]["interface"] == 2


BAD: Final = {
    "error-document": (
        """echo '{"code": 42, "msg": "no luck", "details": "d"}'; exit 1""",
        *(42, "no luck"),
    ),
    "stderr-only": ("echo 'out of paper' >&2; exit 3", 113, "out of paper"),
    "silent": ("exit 1", 113, "it said nothing"),
    "garbage": ("echo hello", 113, "the result of IPAM plugin 'fake'"),
    "nothing": ("exit 0", 113, "the result of IPAM plugin 'fake'"),
    "no-address": ("""echo '{"cniVersion": "1.1.0"}'""", 110, "no address"),
    "bad-address": (
        """echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.1.2.900/24"}]}'""",
        *(113, "10.1.2.900/24"),
    ),
    "unknown-version": ("""echo '{"cniVersion": "7.0.0", "ips": []}'""", 113, "7.0.0"),
    "old-shape": ("""echo '{"ip4": {"ip": "10.1.2.9/24"}}'""", 113, "CNI 0.2"),
    "killed": ("kill -9 $$", 113, "fake"),
}


@pytest.mark.parametrize(("body", "code", "words"), BAD.values(), ids=BAD.keys())
def test_a_program_that_fails_ends_add_with_its_words_and_is_asked_to_release(
    cni: Cni,
    fake: MakeConf,
    pod: Netns,
    delegate: Delegate,
    called: Called,
    body: str,
    code: int,
    words: str,
) -> None:
    answer = cni.call("ADD", fake(isGateway=True), pod, env=delegate(body))

    assert answer.code == code
    assert words in answer.error["msg"]
    assert called() == ["ADD", "DEL"]


def test_a_program_that_is_not_there_is_named_before_anything_is_made(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, links: Callable[[Netns], dict[str, Any]]
) -> None:
    error = cni.call("ADD", conf(ipam={"type": "nowhere"}), pod).error

    assert error["code"] == 113
    assert "nowhere" in error["msg"]
    assert set(links(node)) == {"lo"}


def test_what_the_program_logs_is_passed_on(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate
) -> None:
    env = delegate(f"echo 'lease renewed' >&2; {_says(ANSWER)}")

    assert "lease renewed" in cni.call("ADD", fake(), pod, env=env).log


def test_check_fails_when_the_program_says_so(
    cni: Cni, fake: MakeConf, pod: Netns, delegate: Delegate
) -> None:
    conf = fake()
    result = cni.add(conf, pod, env=delegate(_says(ANSWER)))

    env = delegate("""echo '{"code": 77, "msg": "lease is gone"}'; exit 1""")

    assert cni.check(conf, pod, result, env=env).code == 77


def test_a_result_before_ours_is_passed_on_and_ours_is_added(
    cni: Cni, layer3: MakeConf, pod: Netns, version: str
) -> None:
    ip = {"address": "192.0.2.7/24", "interface": 0} | ({"version": "4"} if version < "1" else {})
    previous = {
        "cniVersion": version,
        "interfaces": [{"name": "wg0", "sandbox": str(pod.path)}],
        "ips": [ip],
        "routes": [{"dst": "198.51.100.0/24"}],
        "dns": {"nameservers": ["192.0.2.1"]},
    }

    result = cni.add(layer3(cniVersion=version, prevResult=previous), pod)

    assert [each["name"] for each in result["interfaces"]][:2] == ["wg0", "br0"]
    assert [(each["address"], each["interface"]) for each in result["ips"]] == [
        ("192.0.2.7/24", 0),
        ("10.1.2.2/24", 3),
    ]
    assert {"dst": "198.51.100.0/24"} in result["routes"]


def test_an_attachment_added_to_a_chain_passes_check(
    cni: Cni, layer3: MakeConf, pod: Netns
) -> None:
    interface = {"name": "wg0", "sandbox": str(pod.path)}
    conf = layer3(isGateway=True, ipMasq=True, macspoofchk=True)

    result = cni.add(conf | {"prevResult": {"interfaces": [interface]}}, pod)

    assert cni.check(conf, pod, result).result is None
