# SPDX-License-Identifier: Apache-2.0
"""
An API server over HTTP or HTTPS that serves saved objects, and refuses as a real one does.

It speaks the paths that a verification reads, pages long lists, and answers with the Status
objects of Kubernetes. It shares no code with the client, nor with what reads the answers.

Source: Kubernetes 1.34, API concepts (paths, chunking, Status).
"""

import functools
import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import yaml

from spanbridge.testing.api_exec import PROTOCOL, ExecSession, accept_key

Object = dict[str, Any]

TOKEN: Final = "sesame"  # noqa: S105  # of tests
"""Whoever brings it is let in."""

_KINDS: Final = {
    "/api/v1/pods": "Pod",
    "/api/v1/nodes": "Node",
    "/api/v1/configmaps": "ConfigMap",
    "/apis/coordination.k8s.io/v1/leases": "Lease",
    "/apis/kubevirt.io/v1/kubevirts": "KubeVirt",
    "/apis/hco.kubevirt.io/v1beta1/hyperconvergeds": "HyperConverged",
    "/apis/hco.kubevirt.io/v1/hyperconvergeds": "HyperConverged",
    "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions": "NetworkAttachmentDefinition",
}
_PATH: Final = re.compile(
    r"(?P<group>/api/v1|/apis/[^/]+/[^/]+)(/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(/(?P<name>[^/]+))?(/(?P<sub>exec))?"
)
_SELECTOR: Final = re.compile(r"(?P<key>\S+) in \((?P<values>[^)]*)\)")


@dataclass(slots=True)
class Served:
    """
    What a server knows, and how it behaves.

    Attributes:
        objects: All of them.
        forbidden: Plurals that it refuses; ``exec`` is one too.
        absent: Groups that nobody installed.
        page_max: Most objects of one answer.
        asked: Requests so far, as ``GET /path?query``.
        environ: Variables of what is executed, besides ours.
        broken: Answers something else than an API server would.
    """

    objects: list[Object]
    forbidden: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    page_max: int = 500
    asked: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    broken: bool = False


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    served: Served

    def log_message(self, *_arguments: object) -> None:
        """Say nothing on standard error."""

    def do_GET(self) -> None:
        """Answer a request to read."""
        self.served.asked.append(f"{self.command} {self.path}")
        if self.served.broken:
            self._send(200, b"<html>log in</html>", "text/html")
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "Unauthorized", "Unauthorized")
        else:
            self._route()

    def _route(self) -> None:
        url = urlsplit(self.path)
        match = _PATH.fullmatch(url.path)
        kind = _KINDS.get(f"{match['group']}/{match['plural']}") if match else None
        if match is None or kind is None or match["group"].split("/")[-2] in self.served.absent:
            self._send(404, b"404 page not found\n", "text/plain")
            return
        namespace, name = match["namespace"], match["name"]
        if (match["sub"] or match["plural"]) in self.served.forbidden:
            verb, plural = "get" if name else "list", match["plural"]
            said = f'{plural} is forbidden: User "eve" cannot {verb} resource "{plural}"'
            self._refuse(403, "Forbidden", said)
            return
        items = [
            each
            for each in self.served.objects
            if each["kind"] == kind and each["metadata"].get("namespace") == namespace
        ]
        query = parse_qs(url.query)
        if match["sub"]:
            self._execute(query)
        elif name:
            self._answer_one(items, match["plural"], name)
        else:
            self._answer_list(items, kind, query, core=match["group"] == "/api/v1")

    def _execute(self, query: dict[str, list[str]]) -> None:
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers["Sec-WebSocket-Key"]))
        self.send_header("Sec-WebSocket-Protocol", PROTOCOL)
        self.end_headers()
        self.close_connection = True
        ExecSession(query["command"], self.rfile, self.wfile, self.served.environ).serve()

    def _answer_one(self, items: list[Object], plural: str, name: str) -> None:
        found = next((each for each in items if each["metadata"]["name"] == name), None)
        if found is None:
            self._refuse(404, "NotFound", f'{plural} "{name}" not found')
        else:
            self._send(200, json.dumps(found).encode())

    def _answer_list(
        self, items: list[Object], kind: str, query: dict[str, list[str]], *, core: bool
    ) -> None:
        asked = query.get("labelSelector", [""])[0]
        selector = _SELECTOR.fullmatch(asked.replace("=", " in (", 1) + ")" * ("=" in asked))
        if selector is not None:
            wanted = set(selector["values"].split(","))
            key = selector["key"]
            items = [
                each for each in items if each["metadata"].get("labels", {}).get(key) in wanted
            ]
        first = int(query.get("continue", ["0"])[0])
        last = first + min(int(query.get("limit", ["500"])[0]), self.served.page_max)
        meta = {"resourceVersion": "7", **({"continue": str(last)} if last < len(items) else {})}
        # Lists of built-in kinds do not repeat it in each element.
        dropped = {"kind", "apiVersion"} if core else set()
        shown = [{key: value for key, value in each.items() if key not in dropped}
                 for each in items[first:last]]  # fmt: skip
        answer = {"kind": f"{kind}List", "apiVersion": "v1", "metadata": meta, "items": shown}
        self._send(200, json.dumps(answer).encode())

    def _refuse(self, code: int, reason: str, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                  "message": message, "reason": reason, "code": code}  # fmt: skip
        self._send(code, json.dumps(status).encode())

    def _send(self, code: int, data: bytes, kind: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(served: Served, certificate: Path | None = None) -> Iterator[str]:
    """
    Serve until the block ends.

    Args:
        served: What to serve.
        certificate: PEM file with key and certificate; None serves plain HTTP.

    Yields:
        The server's URL.
    """
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="API server")
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@functools.cache
def make_server_certificate() -> str:
    """Make key and certificate of a server on 127.0.0.1, as openssl does."""
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", "/dev/stdout", "-subj", "/CN=kube-apiserver", "-days", "2",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def write_kubeconfig(
    path: Path, servers: Iterable[tuple[str, str]], *, authority: Path | None = None,
    token: str = TOKEN,
) -> Path:  # fmt: skip
    """Write a kubeconfig with one context for each (name, URL)."""
    listed = list(servers)
    trust = {"certificate-authority": str(authority)} if authority else {}
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "",
                "clusters": [{"name": f"{name}-cluster", "cluster": {"server": url, **trust}}
                             for name, url in listed],
                "users": [{"name": "admin", "user": {"token": token}}],
                "contexts": [
                    {"name": name, "context": {"cluster": f"{name}-cluster", "user": "admin"}}
                    for name, _ in listed
                ],
            }
        )
    )  # fmt: skip
    return path
