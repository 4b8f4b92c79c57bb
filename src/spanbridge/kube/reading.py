# SPDX-License-Identifier: Apache-2.0
"""
The objects of a cluster through its API, with the official client of Kubernetes.

Only reads, and only what a verification looks at. Blocks; the client's pool of connections
may be used by several threads. Needs the extra ``kube``.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spanbridge.base.errors import InputError, NodeError, RetryError, SpanbridgeError
from spanbridge.kube.pods import COMPONENT_LABEL, HANDLER, SYNC
from spanbridge.kube.saved import BUNDLE, DOOR, LEASE, ClusterObjects, Object

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

DEFAULT_KUBECONFIG: Final = "~/.kube/config"

_TIMEOUT_S: Final = (5.0, 30.0)
"""To connect, and for an answer, which may be a long list."""

_PAGE: Final = 500
"""Objects of one answer; as kubectl asks for."""

_LOGIN: Final = "log in again; `kubectl --context {context} auth whoami` must answer"


@dataclass(frozen=True, slots=True)
class Wish:
    """
    Objects to ask for.

    Attributes:
        kind: As objects have it.
        group: API group; empty is the core.
        version: Of the group.
        plural: As in its address.
        namespaced: Its objects live in namespaces.
        names: Those to ask for, one by one; empty lists all.
        selector: Labels of those to list, as in an URL.
        needed: Being refused is an error; else nobody looked.
    """

    kind: str
    group: str
    version: str
    plural: str
    namespaced: bool = True
    names: tuple[str, ...] = ()
    selector: str = ""
    needed: bool = True

    @property
    def verb(self) -> str:
        """The verb that the API server checks."""
        return "get" if self.names else "list"

    def rule(self) -> str:
        """Write the rule of a Role, or of a ClusterRole, that allows it."""
        named = f", resourceNames: [{', '.join(self.names)}]" if self.names else ""
        return (
            f'{{apiGroups: ["{self.group}"], resources: [{self.plural}]{named}, '
            f"verbs: [{self.verb}]}}"
        )


def wishes(network: str, hyperconverged: str) -> tuple[Wish, ...]:
    """
    List what a verification reads of a cluster.

    Args:
        network: Name of the NetworkAttachmentDefinition.
        hyperconverged: Version of the HyperConverged API; empty where there is none.
    """
    found = (
        Wish("Pod", "", "v1", "pods", selector=f"{COMPONENT_LABEL} in ({HANDLER},{SYNC})"),
        Wish("ConfigMap", "", "v1", "configmaps", names=(BUNDLE, DOOR)),
        Wish("Lease", "coordination.k8s.io", "v1", "leases", names=(LEASE,)),
        Wish("KubeVirt", "kubevirt.io", "v1", "kubevirts"),
        Wish("NetworkAttachmentDefinition", "k8s.cni.cncf.io", "v1",
             "network-attachment-definitions", names=(network,)),
        Wish("Node", "", "v1", "nodes", namespaced=False, needed=False),
    )  # fmt: skip
    if not hyperconverged:
        return found
    hco = Wish("HyperConverged", "hco.kubevirt.io", hyperconverged, "hyperconvergeds", needed=False)
    return (*found, hco)


@dataclass(frozen=True, slots=True)
class ClusterApi:
    """
    A cluster that can be asked.

    Attributes:
        name: Of the cluster in the intent.
        context: Of the kubeconfig.
        client: The library's.
    """

    name: str
    context: str
    client: "ApiClient"


def open_cluster(name: str, context: str, kubeconfig: str = "") -> ClusterApi:
    """
    Prepare to talk to a cluster; nothing is sent yet.

    Args:
        name: Of the cluster in the intent.
        context: Of the kubeconfig.
        kubeconfig: Its file, or several with colons between them; empty takes $KUBECONFIG,
            then ``~/.kube/config``.

    Raises:
        InputError: There is no kubeconfig, it cannot be read, or it has no such context.
        NodeError: The client library is not installed, or a program that it calls for
            credentials failed.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise NodeError(
            "cannot ask clusters: the client library of Kubernetes is not installed",
            hint="pip install 'spanbridge[kube]', or judge saved objects with --objects DIR",
        ) from error
    files = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
    _check_context(files, name, context)
    settings = client.Configuration()
    # One more try: what does not answer at all must not hold up the others for long.
    settings.retries = 1
    said: list[str] = []
    try:
        with _listening(said):
            config.load_kube_config(
                files, context=context, client_configuration=settings, persist_config=False
            )
    except (config.ConfigException, OSError, ValueError, KeyError) as error:
        said.append(_first_line(error))
    if said:
        raise NodeError(
            f"cannot ask cluster {name}: context {context} of {files}: {said[0]}",
            hint=_LOGIN.format(context=context),
        )
    return ClusterApi(name, context, client.ApiClient(settings))


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Collect errors that are logged: the library goes on when a program for a login fails."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(_first_line(ValueError(record.getMessage())))

    listener = Listener(logging.ERROR)
    logging.getLogger().addHandler(listener)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(listener)


def _check_context(files: str, name: str, context: str) -> None:
    from kubernetes.config.kube_config import KubeConfigMerger

    if not any(Path(each).expanduser().is_file() for each in files.split(os.pathsep)):
        raise InputError(
            f"cannot ask cluster {name}: there is no kubeconfig {files}",
            hint="set KUBECONFIG, or judge saved objects with --objects DIR",
        )
    try:
        # Not list_kube_config_contexts: it wants a current context, which nobody needs here.
        names = [str(each["name"]) for each in KubeConfigMerger(files).config.value["contexts"]]
    except Exception as error:
        # The library lets through whatever YAML and its own walk through the file raise.
        raise InputError(
            f"cannot ask cluster {name}: kubeconfig {files} cannot be read: {_first_line(error)}",
            hint="`kubectl config view` must show it",
        ) from error
    if context not in names:
        raise InputError(
            f"cannot ask cluster {name}: {files} has no context {context}",
            hint=f"write into the intent one of: {', '.join(sorted(names)) or 'none is there'}",
        )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def read_cluster(api: ClusterApi, namespace: str, asked: Iterable[Wish]) -> ClusterObjects:
    """
    Read a cluster's objects.

    Raises:
        RetryError: The API server does not answer, or says to come again.
        NodeError: It does not let us in, or not read something: the hint has the rules of
            RBAC that are missing, all of them.
    """
    found: dict[str, tuple[Object, ...]] = {}
    refused: list[Wish] = []
    seen_at: list[float] = []
    for wish in asked:
        try:
            found[wish.kind] = tuple(_read(api, namespace, wish, seen_at))
        except _ForbiddenError:
            if wish.needed:
                refused.append(wish)
    if refused:
        raise NodeError(
            f"cannot read cluster {api.name}: its API server forbids to "
            + " and to ".join(f"{each.verb} {each.plural}" for each in refused)
            + f" in namespace {namespace}",
            hint="a Role there needs the rules "
            + ", ".join(each.rule() for each in refused)
            + "; docs/reference/verify.md has the whole Role",
        )
    at = max(seen_at, default=time.time())
    return ClusterObjects(api.name, namespace, api.context, at, found)


AGENT_LABEL: Final = "app.kubernetes.io/name=spanbridge-agent"


@dataclass(frozen=True, slots=True)
class AgentPod:
    """
    The agent's pod of a node.

    Attributes:
        namespace: Of the pod.
        pod: Its name.
        container: The container in which the agent runs.
    """

    namespace: str
    pod: str
    container: str


def read_agents(api: ClusterApi, namespace: str) -> dict[str, AgentPod]:
    """
    Find the agents' pods that run, by node.

    Args:
        api: Of the cluster.
        namespace: Where the agents are; their label is ``AGENT_LABEL``.

    Raises:
        RetryError, NodeError: See `read_cluster`.
    """
    wish = Wish("Pod", "", "v1", "pods", selector=AGENT_LABEL)
    found = {}
    for pod in read_cluster(api, namespace, (wish,)).found["Pod"]:
        spec, status, meta = (pod.get(key) or {} for key in ("spec", "status", "metadata"))
        names = [str(each.get("name")) for each in spec.get("containers") or ()]
        if status.get("phase") == "Running" and names and not meta.get("deletionTimestamp"):
            container = "agent" if "agent" in names else names[0]
            found[str(spec.get("nodeName"))] = AgentPod(namespace, str(meta["name"]), container)
    return found


class _ForbiddenError(Exception):
    """The API server knows us and does not allow it."""


def _read(api: ClusterApi, namespace: str, wish: Wish, seen_at: list[float]) -> Iterator[Object]:
    if wish.names:
        for name in wish.names:
            found = _ask(api, seen_at, _getter(api, namespace, wish), name=name)
            if found is not None:
                yield _with_kind(found, wish)
        return
    more = ""
    while True:
        page = _ask(api, seen_at, _lister(api, namespace, wish), limit=_PAGE,
                    **({"_continue": more} if more else {}))  # fmt: skip
        # A group that nobody installed answers like one without objects.
        for item in (page or {}).get("items") or ():
            yield _with_kind(item, wish)
        more = ((page or {}).get("metadata") or {}).get("continue") or ""
        if not more:
            return


def _with_kind(item: Object, wish: Wish) -> Object:
    """Say what an object is: elements of the core's lists do not."""
    version = f"{wish.group}/{wish.version}" if wish.group else wish.version
    return {"apiVersion": version, "kind": wish.kind} | dict(item)


def _lister(api: ClusterApi, namespace: str, wish: Wish) -> Callable[..., Any]:
    from kubernetes import client

    if wish.kind == "Node":
        nodes: Callable[..., Any] = client.CoreV1Api(api.client).list_node
        return nodes
    if wish.kind == "Pod":
        core = client.CoreV1Api(api.client)

        def pods(**options: Any) -> Any:  # noqa: ANN401  # the library's own
            return core.list_namespaced_pod(namespace, label_selector=wish.selector, **options)

        return pods
    custom = client.CustomObjectsApi(api.client)

    def others(**options: Any) -> Any:  # noqa: ANN401  # the library's own
        return custom.list_namespaced_custom_object(
            wish.group, wish.version, namespace, wish.plural, **options
        )

    return others


def _getter(api: ClusterApi, namespace: str, wish: Wish) -> Callable[..., Any]:
    from kubernetes import client

    if wish.kind == "ConfigMap":
        core = client.CoreV1Api(api.client)
        return lambda name, **options: core.read_namespaced_config_map(name, namespace, **options)
    if wish.kind == "Lease":
        leases = client.CoordinationV1Api(api.client)
        return lambda name, **options: leases.read_namespaced_lease(name, namespace, **options)
    custom = client.CustomObjectsApi(api.client)
    return lambda name, **options: custom.get_namespaced_custom_object(
        wish.group, wish.version, namespace, wish.plural, name, **options
    )


def _ask(
    api: ClusterApi,
    seen_at: list[float],
    call: Callable[..., Any],
    **options: Any,  # noqa: ANN401  # the library's own
) -> Mapping[str, Any] | None:
    """Send one request and decode its answer; None where there is no such thing."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        # Not decoded by the library: it would build its own objects, and drop what it does
        # not know.
        answer = call(_preload_content=False, _request_timeout=_TIMEOUT_S, **options)
        data = answer.data
    except ApiException as error:
        if error.status == 404:
            return None
        raise _refusal(api, error) from error
    except (HTTPError, OSError) as error:
        raise _unreachable(api, error) from error
    date = answer.headers.get("Date")
    if date:
        seen_at.append(parsedate_to_datetime(date).timestamp())
    try:
        value = json.loads(data)
    except ValueError as error:
        raise NodeError(
            f"cannot read cluster {api.name}: {api.client.configuration.host} answers no JSON",
            hint="is it an API server of Kubernetes, or a proxy that asks for a login?",
        ) from error
    return value if isinstance(value, dict) else {}


def _refusal(api: ClusterApi, error: Any) -> Exception:  # noqa: ANN401  # the library's own
    status, said = int(error.status or 0), _message(error)
    if status == 403:
        return _ForbiddenError(said)
    if status == 401:
        return NodeError(
            f"cannot read cluster {api.name}: its API server does not know who we are: {said}",
            hint=_LOGIN.format(context=api.context),
        )
    return RetryError(
        f"cannot read cluster {api.name}: its API server answers {status}: {said}",
        hint="try again; what does `kubectl get --raw /readyz` say?",
    )


def _message(error: Any) -> str:  # noqa: ANN401  # the library's own
    """Find the words of an error that the API server sent as a Status."""
    try:
        said = json.loads(error.body or "").get("message")
    except (ValueError, AttributeError):
        said = None
    return str(said or error.reason or "no reason was given")


def _unreachable(api: ClusterApi, error: Exception) -> SpanbridgeError:
    cause: BaseException = error
    while True:
        # urllib3 wraps what happened in what it tried.
        inner = getattr(cause, "reason", None) or cause.__cause__
        if not isinstance(inner, BaseException):
            break
        cause = inner
    host = api.client.configuration.host
    return RetryError(
        f"cannot read cluster {api.name}: {host} cannot be reached: {_first_line(cause)}",
        hint=f"does `kubectl --context {api.context} get --raw /readyz` answer?",
    )
