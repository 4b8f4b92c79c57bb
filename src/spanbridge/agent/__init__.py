# SPDX-License-Identifier: Apache-2.0
"""
The node daemon: a warm process that answers the calls of the shim.

Owns the socket and its frames, the threads that serve it, the attachment journal, lease
supervision, figures for monitoring, and what the service manager wants to know. May
import ``cni`` and below. Must never hold plugin logic: what a call means stands in
``cni``, and serves the one-shot program in the same way.

A call's path, in one thread of ``crew``: ``server`` accepts and checks the peer, ``receive``
reads the frame and its descriptors, ``dispatch`` waits for the attachment's turn, ``calls``
runs it and keeps ``journal``, ``reply`` sends the answer. The event loop keeps leases, and
answers what is asked about the agent. ``daemon`` puts the parts together.
"""
