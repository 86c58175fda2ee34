"""`python -m microdose_server` is `microdose-server`."""

from microdose_server.cli import main

raise SystemExit(main())
