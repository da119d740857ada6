"""Train an offloading policy: the same as ``edgecloud train``."""

import sys

from edgecloud.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
