"""Says of each line of stdin, a request with tabs between its parts, whether verify.py accepts it."""

import runpy
import sys

verify = runpy.run_path(sys.argv[1])["verify"]
for line in sys.stdin:
    *headers, body = line.rstrip("\n").split("\t")
    print(str(verify(*headers, body.encode())).lower())
