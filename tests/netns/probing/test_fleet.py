# SPDX-License-Identifier: Apache-2.0
"""A mesh of real namespaces in which all is well."""

from spanbridge.model.observations import Connection, Handshake
from spanbridge.model.verdict import PairState
from spanbridge.testing.fleet import Fleet


def test_nothing_is_found_where_all_is_well(fleet: Fleet) -> None:
    verdict = fleet.verify()
    assert verdict.diagnoses == ()
    assert verdict.passed
    assert len(verdict.pairs) == 4 * 3 + 2
    assert {each.state for each in verdict.pairs} == {PairState.GOOD}


def test_every_measurement_is_there(fleet: Fleet) -> None:
    observations = fleet.observe()
    owners = {each.name: each.mac for each in observations.endpoints}
    for probe in observations.probes:
        assert probe.route is not None
        assert probe.route.device == "migration0"
        assert probe.neighbour is not None
        assert probe.neighbour.macs == (owners[probe.target],)
        assert probe.neighbour.heard is not None
        assert probe.neighbour.heard >= 3
        assert probe.echo is not None
        assert (probe.echo.sent, probe.echo.received, probe.echo.heard) == (20, 20, 20)
        assert probe.echo.duplicates == 0
        assert probe.path_mtu is not None
        assert probe.path_mtu.passed == 9000
        (dial,) = probe.dials
        assert dial.result is Connection.OK
        assert dial.tls is not None
        assert dial.tls.result is Handshake.OK
        issuer = fleet.clusters[probe.target.partition("/")[0]].authority
        assert issuer is not None
        assert dial.tls.issuer == issuer.fingerprint
    assert all(claim.macs == () for claim in observations.claims)
    assert observations.strays == ()
