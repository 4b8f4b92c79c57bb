# SPDX-License-Identifier: Apache-2.0
"""
The node daemon: a warm process that answers the calls of the shim.

Owns the socket and its frames, worker threads, the attachment journal, lease
supervision, figures for monitoring, and what the service manager wants to know. May
import ``cni`` and below. Must never hold plugin logic: what a call means stands in
``cni``, and serves the one-shot program in the same way.

A call's path: ``server`` accepts and checks the peer, ``receive`` reads the frame and
its descriptors, ``calls`` runs it in a thread of ``workers`` and keeps ``journal``,
``server`` sends the answer. ``daemon`` puts the parts together.
"""
