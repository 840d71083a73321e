package trust

import (
	"fmt"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// provider is who has the MX of a domain, and forwards here what it got: the shapes are those of their headers as they
// arrive, with names, addresses and keys of ours.
type provider struct {
	name     string
	authserv string
	sealer   *peer.SigningKey
	host     string // which sends
	spf      string // the record that names its networks
	mx       string
	received string // its fields, the newest first; %s is the client before it and its name
	results  string // what it has found: %s is how it writes each of spf, dmarc
}

const (
	googleReceived = "X-Gm-Message-State: AOJu0Yz1\r\nX-Received: by 2002:a05:6000:2a2:b0:385:df5d:622c with SMTP id " +
		"ffacd0b85a97d-3 for <foobar@exemple.org>;\r\n        Wed, 25 Nov 2026 02:00:01 -0800 (PST)\r\n" +
		"Received: by 2002:adf:f0ce:0:b0:385:e8a7:d0d9 with SMTP id x14csp1; Wed, 25 Nov 2026 02:00:01 -0800 (PST)\r\n"
	googleFirst = "Received: from %s (%[1]s. [%[2]s])\r\n        by mx.google.com with ESMTPS id a640c23a62f3a-1\r\n" +
		"        for <foobar@exemple.org>\r\n        (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256);\r\n" +
		"        Wed, 25 Nov 2026 02:00:00 -0800 (PST)\r\nReceived-SPF: pass (google.com: see it) client-ip=%[2]s;\r\n"
	microsoftReceived = "Received: from DB7PR02CA0001.eurprd02.prod.outlook.com (2603:10a6:10:52::14)\r\n" +
		" by AM0PR04MB0001.eurprd04.prod.outlook.com (2603:10a6:208:6b::22) with\r\n Microsoft SMTP Server " +
		"(version=TLS1_2,\r\n cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.20.8182.18; Wed, 25 Nov\r\n 2026 10:00:01 +0000\r\n" +
		"Received: from DB5EUR01FT048.eop-EUR01.prod.protection.outlook.com\r\n (2603:10a6:10:52:cafe::2e) by " +
		"DB7PR02CA0001.outlook.office365.com\r\n (2603:10a6:10:52::14) with Microsoft SMTP Server (version=TLS1_3,\r\n " +
		"cipher=TLS_AES_256_GCM_SHA384) id 15.20.8182.18 via Frontend Transport; Wed,\r\n 25 Nov 2026 10:00:01 +0000\r\n"
	microsoftFirst = "Received: from %s (%[2]s) by\r\n DB5EUR01FT048.mail.protection.outlook.com (10.152.5.74) with " +
		"Microsoft SMTP\r\n Server (version=TLS1_3, cipher=TLS_AES_256_GCM_SHA384) id 15.20.8182.16\r\n via Frontend Transport; " +
		"Wed, 25 Nov 2026 10:00:00 +0000\r\n"
)

func providers(t *testing.T) []provider {
	t.Helper()
	google, err := peer.NewSigningKey("google.com", "arc-20240605", "rsa-sha256")
	must(t, err)
	microsoft, err := peer.NewSigningKey("microsoft.com", "arcselector10001", "rsa-sha256")
	must(t, err)
	return []provider{
		{name: "google", authserv: "mx.google.com", sealer: google, host: "mail-wr1-f41.google.com", spf: "_spf.google.com",
			mx: "aspmx.l.google.com", received: googleReceived + googleFirst,
			results: "Authentication-Results: mx.google.com;\r\n       dkim=none;\r\n       spf=%s (google.com: domain of a@%[3]s) " +
				"smtp.mailfrom=a@%[3]s;\r\n       dmarc=%[2]s (p=REJECT sp=REJECT dis=NONE) header.from=%[3]s\r\n"},
		{name: "microsoft", authserv: "mx.microsoft.com 1", sealer: microsoft, host: "mail-am0.outbound.protection.outlook.com",
			spf: "spf.protection.outlook.com", mx: "exemple-org.mail.protection.outlook.com", received: microsoftReceived + microsoftFirst,
			results: "Authentication-Results: mx.microsoft.com 1; spf=%s (sender ip is\r\n 192.0.2.1) smtp.rcpttodomain=exemple.org " +
				"smtp.mailfrom=%[3]s;\r\n dmarc=%[2]s (p=reject sp=reject pct=100) action=none\r\n header.from=%[3]s; dkim=none " +
				"(message not signed); arc=none (0)\r\n"},
	}
}

// forwards is a message as the provider forwards it, which it had from a client at an address, and whether it seals it.
func (p provider) forwards(w *world, client, message, spf, dmarc, domain string, seal bool) string {
	w.t.Helper()
	if seal {
		var err error
		message, err = dkimpy.Seal(p.sealer, fmt.Sprintf(p.results, spf, dmarc, domain)+message, p.authserv)
		must(w.t, err)
	}
	return fmt.Sprintf(p.received, "mail."+domain, client) + message
}

// What the domain's own provider forwards is judged by whom the provider had it from, however the upstream was named; a
// forgery that it forwards is one still, and nobody else can claim to be it.
func TestUpstreams(t *testing.T) {
	t.Parallel()
	for _, p := range providers(t) {
		for _, upstream := range []string{"203.0.113.0/24", p.spf, "auto"} {
			t.Run(p.name+" "+strings.ReplaceAll(upstream, "/", "-"), func(t *testing.T) {
				t.Parallel()
				reverse, err := peer.PTR("203.0.113.7", p.host)
				must(t, err)
				w := start(t, settings{
					records: append([]string{
						p.sealer.Record, reverse, p.host + ". 60 IN A 203.0.113.7", peer.TXT(p.spf, "v=spf1 include:nets."+p.spf+" ~all"),
						peer.TXT("nets."+p.spf, "v=spf1 ip4:203.0.113.0/25 ip6:2001:db8:1::/48 ~all"),
						"exemple.org. 60 IN MX 1 " + p.mx + ".", p.mx + ". 60 IN A 203.0.113.99",
					}, spoofable...),
					domains: enforcing("authentication = \"enforce\"\nupstreams = [\"" + upstream + "\"]"),
					more:    "[msgauth]\ntrusted_sealers = [\"" + p.sealer.Domain + "\"]",
				})
				honest := fmt.Sprintf(byFrom, "reject.example")
				// Without a seal, its Received says where it came from.
				m := w.got("203.0.113.7", "a@reject.example", p.forwards(w, "192.0.2.1", honest, "", "", "reject.example", false))
				wantResult(t, m, "spf", "pass")
				wantResult(t, m, "dmarc", "pass")
				// Signed by its author, and altered on the way by the provider: only the seal says that it was well.
				w.got("203.0.113.7", "a@reject.example",
					p.forwards(w, "192.0.2.1", honest, "pass", "pass", "reject.example", true))
				// It had a forgery, and let it through: that is put aside, since a report would reach who has not written it.
				m = w.got("203.0.113.7", "a@reject.example", p.forwards(w, "192.0.2.66", honest, "", "", "reject.example", false))
				wantResult(t, m, "dmarc", "fail")
				if len(fields(m, "X-Mxbypass-Quarantine")) != 1 {
					t.Errorf("not put aside:\n%s", m)
				}
				// Somebody else who writes what it would write.
				wantReply(t, w.send("192.0.2.66", "a@reject.example", box,
					p.forwards(w, "192.0.2.1", honest, "", "", "reject.example", false)), "550 5.7.1 ")
				must(t, peer.Until(soon, "the log to tell that an upstream has sent it", func() bool {
					return strings.Contains(w.Output(), "the client is an upstream of exemple.org")
				}))
			})
		}
	}
}

// A seal of a trusted sealer counts also when it is not the upstream that shows it, for what it says; one of a stranger
// counts for nothing, and one of anybody for nothing when the message has been altered.
func TestTrustedSealers(t *testing.T) {
	t.Parallel()
	p := providers(t)[0]
	stranger, err := peer.NewSigningKey("stranger.example", "s1", "rsa-sha256")
	must(t, err)
	w := start(t, settings{
		records: append([]string{p.sealer.Record, stranger.Record}, spoofable...),
		domains: enforcing("authentication = \"enforce\""),
		more:    "[msgauth]\ntrusted_sealers = [\"google.com\"]",
	})
	honest := fmt.Sprintf(byFrom, "reject.example")
	sealed := p.forwards(w, "192.0.2.1", honest, "pass", "pass", "reject.example", true)
	m := w.got("203.0.113.7", "list@list.example", sealed)
	wantResult(t, m, "arc", "pass")
	for name, content := range map[string]string{
		"it had failed":    p.forwards(w, "192.0.2.1", honest, "fail", "fail", "reject.example", true),
		"altered":          strings.Replace(sealed, "Hello.", "Hallo.", 1),
		"another author":   strings.Replace(sealed, "a@reject.example", "b@reject.example", 1),
		"results replaced": strings.Replace(p.forwards(w, "192.0.2.1", honest, "fail", "fail", "reject.example", true), "dmarc=fail", "dmarc=pass", 1),
	} {
		if reply := w.send("203.0.113.7", "list@list.example", box, content); !strings.HasPrefix(reply, "550 5.7.1 ") {
			t.Errorf("%s: %s", name, reply)
		}
	}
	p.sealer = stranger
	wantReply(t, w.send("203.0.113.7", "list@list.example", box,
		p.forwards(w, "192.0.2.1", honest, "pass", "pass", "reject.example", true)), "550 5.7.1 ")
}
