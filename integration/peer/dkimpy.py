"""What dkimpy (and, for DMARC's own sake, authres) says of a message: one request in JSON at stdin, its answer at stdout.

DNS is a table that comes with the request. Messages are base64, since they are octets.
"""

import base64
import json
import sys

import authres
import dkim

request = json.load(sys.stdin)
message = base64.b64decode(request["message"])
texts = {name.rstrip(".").lower(): value for name, value in request["txt"].items()}


def ask(name, timeout=5):
    value = texts.get(name.decode("ascii").rstrip(".").lower())
    return None if value is None else value.encode("ascii")


def given(name):
    return request[name].encode("ascii")


def sign():
    return dkim.sign(
        message, given("selector"), given("domain"), given("key"), signature_algorithm=given("algorithm"),
        canonicalize=(b"relaxed", b"relaxed")).decode("ascii")


def verify():
    """One word for every signature, from the top: its domain, and whether it holds."""
    d = dkim.DKIM(message, minkey=1024)
    found = []
    for i in range(sum(1 for name, _ in d.headers if name.lower() == b"dkim-signature")):
        try:
            holds = d.verify(idx=i, dnsfunc=ask)
            why = ""
        except dkim.DKIMException as e:
            holds, why = False, repr(e)
        algorithm = d.signature_fields.get(b"a", b"").decode("ascii")
        found.append({"domain": d.domain.decode("ascii"), "algorithm": algorithm, "holds": bool(holds), "why": why})
    return found


def arc_seal():
    lines = dkim.arc_sign(message, given("selector"), given("domain"), given("key"), given("authserv"))
    return b"".join(lines).decode("ascii")


def arc_verify():
    status, instances, why = dkim.arc_verify(message, dnsfunc=ask)
    return {"status": status.decode("ascii"), "instances": len(instances), "why": why}


def results():
    """The topmost Authentication-Results, as authres reads it."""
    text = request["field"]
    field = authres.AuthenticationResultsHeader.parse(text)
    found = []
    for r in field.results:
        properties = {f"{p.type}.{p.name}": p.value for p in r.properties}
        found.append({"method": r.method, "result": r.result, "properties": properties})
    return {"authserv": field.authserv_id, "results": found}


answer = {"sign": sign, "verify": verify, "arc-seal": arc_seal, "arc-verify": arc_verify, "results": results}[request["do"]]()
json.dump(answer, sys.stdout)
