"""What dkimpy and authres say of messages: requests at stdin, one JSON in a line, and their answers at stdout.

DNS is a table that comes with a request. Messages are base64, since they are octets.
"""

import base64
import json
import re
import sys
import types

import authres
import dkim


class Request(dict):
    """A request of which the fields are octets, as dkimpy wants them."""

    def octets(self, name):
        return self[name].encode("ascii")

    def message(self):
        return base64.b64decode(self["message"])

    def ask(self, name, timeout=5):
        wanted = name.decode("ascii").rstrip(".").lower()
        for known, value in self["txt"].items():
            if known.rstrip(".").lower() == wanted:
                return value.encode("ascii")
        return None


def sign(r):
    return dkim.sign(
        r.message(), r.octets("selector"), r.octets("domain"), r.octets("key"), signature_algorithm=r.octets("algorithm"),
        canonicalize=(b"relaxed", b"relaxed")).decode("ascii")


def verify(r):
    """One word for every signature, from the top: its domain, and whether it holds."""
    d = dkim.DKIM(r.message(), minkey=1024)
    found = []
    for i in range(sum(1 for name, _ in d.headers if name.lower() == b"dkim-signature")):
        try:
            holds = d.verify(idx=i, dnsfunc=r.ask)
            why = ""
        except dkim.DKIMException as e:
            holds, why = False, repr(e)
        algorithm = d.signature_fields.get(b"a", b"").decode("ascii")
        found.append({"domain": d.domain.decode("ascii"), "algorithm": algorithm, "holds": bool(holds), "why": why})
    return found


class Loose:
    """Reads results for a seal as large providers write them, which authres refuses: name, version, words of their own."""

    @staticmethod
    def parse(field):
        text = field.partition(":")[2]
        chain = re.search(r"\barc=(\w+)", text)
        found = [types.SimpleNamespace(method="arc", result=chain.group(1))] if chain else []
        return types.SimpleNamespace(authserv_id=text.partition(";")[0].strip(), results=found)


dkim.authres = types.SimpleNamespace(AuthenticationResultsHeader=Loose, core=authres.core)


def arc_seal(r):
    lines = dkim.arc_sign(r.message(), r.octets("selector"), r.octets("domain"), r.octets("key"), r.octets("authserv"))
    return b"".join(lines).decode("ascii")


def arc_verify(r):
    status, instances, why = dkim.arc_verify(r.message(), dnsfunc=r.ask)
    # There is none when the chain was ended by whoever sealed it last: it has failed.
    return {"status": "fail" if status is None else status.decode("ascii"), "instances": len(instances), "why": why}


def results(r):
    """An Authentication-Results field, as authres reads it."""
    field = authres.AuthenticationResultsHeader.parse(r["field"])
    found = []
    for one in field.results:
        properties = {f"{p.type}.{p.name}": p.value for p in one.properties}
        found.append({"method": one.method, "result": one.result, "properties": properties})
    return {"authserv": field.authserv_id, "results": found}


can = {"sign": sign, "verify": verify, "arc-seal": arc_seal, "arc-verify": arc_verify, "results": results}
for line in sys.stdin:
    request = Request(json.loads(line))
    try:
        answer = {"answer": can[request["do"]](request)}
    except Exception as e:  # whatever it is, the test has to hear of it
        answer = {"error": repr(e)}
    print(json.dumps(answer), flush=True)
