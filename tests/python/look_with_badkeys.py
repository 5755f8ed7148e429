"""What `badkeys` says of the key of the first certificate in each file: JSON by file name, for docs/agreement.md.

Without its blocklist, which it fetches from a server of its own.
"""

import json
import pathlib
import sys

from badkeys.checks import checkcrt

CHECKS = ["fermat", "roca", "rsainvalid", "rsapoly", "sharedprimes", "smalld", "smallfactors", "dsasparse"]
END = "-----END CERTIFICATE-----\n"

said = {}
for path in map(pathlib.Path, sys.argv[1:]):
    answer = checkcrt(path.read_text().split(END)[0] + END, checks=CHECKS)
    said[path.name] = {
        "type": answer["type"],
        "bits": answer.get("bits"),
        "found": {check: found.get("subtest") for check, found in answer["results"].items()},
    }
json.dump(said, sys.stdout)
