# SPDX-License-Identifier: Apache-2.0
"""Reading resolv.conf."""

from spanbridge.ipam.resolv import parse_resolv_conf
from spanbridge.model.result import Dns


def test_every_keyword_of_a_result_is_read() -> None:
    text = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.example b.example\n"
    text += "domain first.example\ndomain last.example\noptions ndots:5 edns0\noptions trust-ad\n"
    assert parse_resolv_conf(text) == Dns(
        nameservers=("192.0.2.1", "192.0.2.2"),
        domain="last.example",
        search=("a.example", "b.example"),
        options=("ndots:5", "edns0", "trust-ad"),
    )


def test_comments_and_keywords_without_value_are_skipped() -> None:
    text = "# nameserver 192.0.2.1\n;nameserver 192.0.2.2\n\nnameserver\nsortlist 192.0.2.0\n"
    assert parse_resolv_conf(text) == Dns()
