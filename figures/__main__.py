"""`python -m figures` is `iapo figures`."""

import sys

from sim.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["figures"]
    main()
