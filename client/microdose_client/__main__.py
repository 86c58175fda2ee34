"""`python -m microdose_client`: the same as the `microdose` command."""

import sys

from microdose_client.cli import main

sys.exit(main())
