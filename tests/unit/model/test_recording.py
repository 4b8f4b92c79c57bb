# SPDX-License-Identifier: Apache-2.0
"""Observations survive a file, and what is no such file is refused with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import ConfigError, DecodeError
from spanbridge.model.observations import (
    Endpoint,
    Expectations,
    Neighbour,
    NodeFacts,
    Observations,
    PairProbe,
    Role,
    Throughput,
    Uplink,
    VlanSpan,
)
from spanbridge.model.recording import parse_observations, render_observations
from spanbridge.model.timeline import Migration, Outcome, Sample


def _pods(*names: str) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(name, "e", "n", Role.HANDLER, name) for name in names)


@given(
    st.builds(
        Observations,
        endpoints=st.just(_pods("a", "b")),
        claims=st.just(()),
        probes=st.lists(st.builds(PairProbe, st.just("a"), st.just("b"))).map(tuple),
    )
)
def test_observations_come_back_as_they_were(seen: Observations) -> None:
    assert parse_observations(render_observations(seen).encode(), "the file") == seen


def test_each_pair_has_a_line_of_its_own() -> None:
    probes = (PairProbe("a", "b"), PairProbe("b", "a", neighbour=Neighbour(3, ("02::",))))
    text = render_observations(Observations("now", endpoints=_pods("a", "b"), probes=probes))
    assert ' {"source": "a", "target": "b"},\n' in text
    assert json.loads(text)["probes"][1]["neighbour"] == {"asked": 3, "macs": ["02::"]}


def test_what_nobody_looked_at_is_told_from_what_is_not_there() -> None:
    silent = PairProbe("a", "b", neighbour=Neighbour(3, heard=0))
    unheard = PairProbe("a", "b", neighbour=Neighbour(3))
    for probe in (silent, unheard):
        seen = Observations("now", endpoints=_pods("a", "b"), probes=(probe,))
        assert parse_observations(render_observations(seen).encode(), "f").probes == (probe,)
    assert silent != unheard


def test_all_parts_are_kept() -> None:
    uplink = Uplink("eth1", up=True, mtu=9000, vlans=(VlanSpan(2, 9),))
    seen = Observations(
        "2026-11-24T18:00:00Z",
        Expectations("bridge-net", vlan=2, mtu=9000),
        endpoints=(Endpoint("e/h", "e", "n", Role.STANDBY, "h", lease_s=-1), *_pods("e/i")),
        nodes=(NodeFacts("e", "n", agent=False, uplinks=(uplink,)),),
        probes=(PairProbe("e/h", "e/i", throughput=Throughput(10, 0.5)),),
        migrations=(
            Migration(
                "vm", "e/n", "w/n", "pre-copy", Outcome.FAILED, 9, samples=(Sample(0, 1, 2),)
            ),
        ),
    )
    assert parse_observations(render_observations(seen).encode(), "f") == seen


@pytest.mark.parametrize(
    ("change", "pointer", "hint"),
    [
        ({"kind": "Verdict"}, "/kind", "spanbridge verify --save"),
        ({"version": 2}, "/version", "a later one"),
        ({"probs": []}, "/probs", "'probes'"),
        ({"probes": {}}, "/probes", "a list"),
        ({"probes": [{"source": "a"}]}, "/probes/0", "'target'"),
        ({"probes": [{"source": "a", "target": 3}]}, "/probes/0/target", "a string"),
        ({"endpoints": [{"name": "a", "cluster": "c", "node": "n", "role": "king", "pod": "p"}]},
         "/endpoints/0/role", "virt-handler, sync-leader"),
        ({"probes": [{"source": "a", "target": "b"}]}, "/probes", "the endpoints first"),
        ({"endpoints": [{"name": "a", "cluster": "c", "node": "n", "role": "virt-handler",
                         "pod": "p"}] * 2}, "/endpoints", "cluster/pod"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_the_place(
    change: dict[str, object], pointer: str, hint: str
) -> None:
    record = json.loads(render_observations(Observations("now"))) | change
    with pytest.raises(ConfigError) as caught:
        parse_observations(json.dumps(record).encode(), "the file")
    assert caught.value.pointer == pointer
    assert hint in caught.value.hint


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"cannot decode seen\.json"):
        parse_observations(b"passed", "seen.json")
