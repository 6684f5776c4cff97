"""Prints for each line of stdin whether verify.py accepts it. A line is a request, with tabs between its parts."""

import runpy
import sys

verify = runpy.run_path(sys.argv[1])["verify"]
for line in sys.stdin:
    *headers, body = line.rstrip("\n").split("\t")
    print(str(verify(*headers, body.encode())).lower())
