# SPDX-License-Identifier: Apache-2.0
"""
Measurements: this plugin beside the reference plugin, and beside the kernel's own floor.

``make bench``, or ``python -m bench``. Everything runs in a private network and mount
namespace. Nothing of the product may import this; this may import everything.
"""
