# SPDX-License-Identifier: Apache-2.0
"""`python -m spanbridge.cli`: the same as the program `spanbridge`."""

import sys

from spanbridge.cli import main

sys.exit(main())
