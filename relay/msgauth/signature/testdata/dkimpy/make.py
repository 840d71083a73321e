#!/usr/bin/python3
"""Makes the messages beside it with dkimpy (Debian's python3-dkim) and new keys, whose public halves go to keys.txt."""
import base64
import subprocess

import dkim
import nacl.signing

keys, records = {}, {}


def rsa(selector, domain):
    pem = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "rsa", "-pubout", "-outform", "DER"], input=pem, capture_output=True, check=True)
    keys[selector, domain] = pem
    records[f"{selector}._domainkey.{domain}"] = "v=DKIM1; k=rsa; p=" + base64.b64encode(der.stdout).decode()


def ed25519(selector, domain):
    key = nacl.signing.SigningKey.generate()
    keys[selector, domain] = base64.b64encode(key.encode())
    public = base64.b64encode(key.verify_key.encode()).decode()
    records[f"{selector}._domainkey.{domain}"] = "v=DKIM1; k=ed25519; p=" + public


def ask(name, timeout=5):
    return records.get(name.decode().rstrip("."), "").encode()


def write(name, message):
    with open(name + ".eml", "wb") as f:
        f.write(message)


header = (b"From: =?utf-8?q?Zo=C3=AB?= <zoe@sender.example>\r\nTo: list@forward.example,\r\n\tother@elsewhere.example\r\n"
          b"Subject:  two  spaces\tand a tab,\r\n  folded twice \r\n\t \r\nDate: Wed, 25 Nov 2026 14:00:00 +0000\r\n"
          b"MESSAGE-ID: <one@sender.example>\r\nMIME-Version: 1.0\r\nX-Hop: from a by b; one\r\n"
          b"X-Hop: from c by d; two\r\n")
bodies = {
    "usual": b"Hello,\r\n\r\n  a line \t with white   space \r\n.\r\n\t\r\n-- \r\nZoe\r\n",
    "empty": b"",
    "blank": b"\r\n\r\n \r\n",
    "open": b"no line end",
    "trailing": b"text\r\n \r\n\r\n\r\n",
    "latin": b"\xe9\xff\r\n",
}
forms = [(b"relaxed", b"relaxed"), (b"simple", b"simple"), (b"relaxed", b"simple"), (b"simple", b"relaxed")]
names = [b"from", b"from", b"to", b"subject", b"subject", b"date", b"message-id", b"x-hop", b"x-hop", b"x-hop"]

rsa("r", "sender.example")
ed25519("e", "sender.example")
rsa("a", "forward.example")
rsa("b", "second.example")
rsa("c", "third.example")

for name, body in bodies.items():
    message = header + b"\r\n" + body
    for form in forms:
        for selector, algorithm in (("r", b"rsa-sha256"), ("e", b"ed25519-sha256")):
            field = dkim.sign(message, selector.encode(), b"sender.example", keys[selector, "sender.example"],
                              canonicalize=form, include_headers=names, signature_algorithm=algorithm)
            assert dkim.verify(field + message, dnsfunc=ask)
            write(f"dkim_{name}_{form[0].decode()}_{form[1].decode()}_{selector}", field + message)


def seal(message, selector, domain):
    results = b"Authentication-Results: %s; spf=pass smtp.mailfrom=sender.example;\r\n\tarc=none\r\n" % domain
    if b"ARC-Seal" in message:
        cv = dkim.arc_verify(message, dnsfunc=ask)[0]
        results = b"Authentication-Results: %s; arc=%s\r\n" % (domain, cv)
    fields = dkim.arc_sign(results + message, selector.encode(), domain, keys[selector, domain.decode()], domain,
                           timestamp=1795000000)
    return b"".join(fields) + message


message = header + b"\r\n" + bodies["usual"]
one = seal(message, "a", b"forward.example")
two = seal(one, "b", b"second.example")
three = seal(two, "c", b"third.example")
changed = seal(two.replace(b"Subject:", b"Subject: [list]") + b"A footer.\r\n", "c", b"third.example")
listed = seal(one.replace(b"Subject:", b"Subject: [list]"), "b", b"second.example")
for name, m in (("arc_one", one), ("arc_two", two), ("arc_three", three), ("arc_failed", changed),
                ("arc_broken", two.replace(b"Hello", b"hello")), ("arc_listed", listed)):
    write(name, m)
    print(name, dkim.arc_verify(m, dnsfunc=ask)[0])
with open("keys.txt", "w") as f:
    for name, record in sorted(records.items()):
        f.write(f"{name} {record}\n")
