# SPDX-License-Identifier: Apache-2.0
"""
What tests of Spanbridge, and of software around it, can build on.

Owns the public pytest plugin (`spanbridge.testing.plugin`) and the in-memory twins
of our seams. May import anything; nothing of the product may import it. Its
fixtures ask other tools (`ip`, `bridge`, `nft`), never our own codec.
"""
