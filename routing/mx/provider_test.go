package mx

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"mxbypass/mailbox"
)

// Every row of the table of providers, and the names beside it that are somebody else's.
func TestProviderOf(t *testing.T) {
	ps := providers(t)
	for want, list := range map[string]string{
		"Gandi": "spool.mail.gandi.net fb.mail.gandi.net",
		"Google Workspace": "aspmx.l.google.com alt1.aspmx.l.google.com alt2.aspmx.l.google.com alt3.aspmx.l.google.com " +
			"alt4.aspmx.l.google.com smtp.google.com aspmx2.googlemail.com aspmx5.googlemail.com " +
			"exemple.org.s7a1.psmtp.com x.psmtp.com",
		"Microsoft 365": "exemple-org.mail.protection.outlook.com exemple-org.mail.protection.outlook.us " +
			"exemple-org.mail.protection.office365.us exemple-org.mail.protection.partner.outlook.cn " +
			"exemple-org.o-v1.mx.microsoft exemple-org.mx.microsoft",
		"OVH": "mx0.mail.ovh.net mx1.mail.ovh.net mx2.mail.ovh.net mx3.mail.ovh.net mx4.mail.ovh.net redirect.ovh.net " +
			"ex.mail.ovh.net ex5.mail.ovh.net",
		"alwaysdata":               "mx1.alwaysdata.com mx2.alwaysdata.com mx.alwaysdata.com",
		"Infomaniak":               "mta-gw.infomaniak.ch",
		"IONOS":                    "mx00.ionos.fr mx01.ionos.com mx00.ionos.co.uk mxint01.kundenserver.de",
		"Proton":                   "mail.protonmail.ch mailsec.protonmail.ch mx1.alias.proton.me mx2.alias.proton.me",
		"Fastmail":                 "in1-smtp.messagingengine.com in2-smtp.messagingengine.com",
		"Zoho":                     "mx.zoho.com mx2.zoho.eu mx3.zoho.com.au mx.zohomail.com mx2.zohomail.com",
		"Cloudflare Email Routing": "route1.mx.cloudflare.net route3.mx.cloudflare.net linda.mx.cloudflare.net",
		"Amazon SES":               "inbound-smtp.eu-west-1.amazonaws.com",
		"Apple iCloud":             "mx01.mail.icloud.com",
		"Yahoo":                    "mta5.am0.yahoodns.net",
		"Yandex":                   "mx.yandex.ru mx.yandex.net mx.yandex.com.tr",
		"Migadu":                   "aspmx1.migadu.com",
		"Mimecast":                 "eu-smtp-inbound-1.mimecast.com",
		"Proofpoint":               "mxa-00123.gslb.pphosted.com mx1-us1.ppe-hosted.com",
		"Barracuda":                "d123.ess.barracudanetworks.com",
		"Cisco":                    "esa1.x.iphmx.com",
		"Broadcom":                 "cluster1.eu.messagelabs.com",
		"Hornetsecurity":           "mx01.hornetsecurity.com mx23a.antispameurope.com",
		"SpamExperts":              "mx.spamexperts.com fallbackmx.spamexperts.eu mx.x.spamexperts.co.uk",
		"": "alt5.aspmx.l.google.com alt12.aspmx.l.google.com xaspmx.l.google.com aspmx.l.google.com.evil.example " +
			"evil-aspmx.l.google.com aspmx1.googlemail.com aspmx.example mail.protection.outlook.com psmtp.com " +
			"xmail.protection.outlook.com mx5.mail.ovh.net mx.ovh.net migadu.com mx02.ionos.fr mx.yandex.x.example " +
			"mx.yandex.evil.com mx.yandex inbound-smtp.a.b.amazonaws.com in3-smtp.messagingengine.com spamexperts.com " +
			"localhost mx.zohomail.eu gandi.net",
	} {
		for host := range strings.FieldsSeq(list) {
			for _, spelling := range []string{host, strings.ToUpper(host) + "."} {
				got, ok := ps.Of(name(spelling))
				if got.Name != want || ok != (want != "") {
					t.Errorf("%s is run by %q, want %q", spelling, got.Name, want)
				}
			}
		}
	}
	if _, ok := ps.Of(mailbox.DomainName{}); ok {
		t.Error("somebody runs no host")
	}
	for _, p := range ps.All() {
		hides := strings.Contains("Mimecast Proofpoint Barracuda Cisco Broadcom Hornetsecurity SpamExperts", p.Name)
		if hides != (p.Kind == HidesHost) {
			t.Errorf("%s is a %s", p.Name, p.Kind)
		}
	}
}

// Whose SPF records name the hosts of a provider, for all of them.
func TestProviderSPF(t *testing.T) {
	want := map[string]string{
		"Gandi":            "_mailcust.gandi.net",
		"Google Workspace": "_spf.google.com",
		"Microsoft 365":    "spf.protection.outlook.com spf.protection.office365.us spf.protection.partner.outlook.cn",
		"OVH":              "mx.ovh.com",
		"alwaysdata":       "_spf.alwaysdata.com",
		"Infomaniak":       "spf.infomaniak.ch",
		"IONOS":            "_spf-eu.ionos.com _spf-us.ionos.com _spf.kundenserver.de _spf.perfora.net",
		"Proton":           "_spf.protonmail.ch alias.proton.me",
		"Fastmail":         "spf.messagingengine.com",
		"Zoho":             "zohomail.com zohomail.eu zohomail.in zohomail.com.au zohomail.jp",

		"Cloudflare Email Routing": "_spf.mx.cloudflare.net",

		"Amazon SES":     "amazonses.com",
		"Apple iCloud":   "icloud.com",
		"Yahoo":          "_spf.mail.yahoo.com",
		"Yandex":         "_spf.yandex.net",
		"Migadu":         "spf.migadu.com",
		"Mimecast":       "_netblocks.mimecast.com",
		"Proofpoint":     "_spf-us.ppe-hosted.com _spf-eu.ppe-hosted.com",
		"Barracuda":      "spf.ess.barracudanetworks.com",
		"Cisco":          "",
		"Broadcom":       "spf.messagelabs.com",
		"Hornetsecurity": "spf.hornetsecurity.com",
		"SpamExperts":    "spf.antispamcloud.com",
	}
	got, owner := map[string]string{}, map[mailbox.DomainName]string{}
	for _, p := range providers(t).All() {
		var names []string
		for _, n := range p.SPF {
			if owner[n] != "" {
				t.Errorf("%s is of %s and %s", n, owner[n], p.Name)
			}
			owner[n] = p.Name
			names = append(names, n.ASCII())
		}
		got[p.Name] = strings.Join(names, " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Where an SPF name comes from, or why there is none, is said with every provider.
func TestProviderSPFSources(t *testing.T) {
	source := regexp.MustCompile(`(?m)^# (documented|published)\b.*\nspf = |^# spf none: `)
	for i, block := range strings.Split(string(embeddedProviders), "[[provider]]\n")[1:] {
		if n := len(source.FindAllString(block, -1)); n != 1 {
			t.Errorf("provider %d: %d sources in\n%s", i+1, n, block)
		}
	}
}

// The four providers of the original task, with exactly these values.
func TestPlans(t *testing.T) {
	ps := providers(t)
	for _, c := range []struct{ words, plan, alternative string }{
		{"gandi Gandi GANDI.NET", "10800 10 spool.mail.gandi.net; 10800 50 fb.mail.gandi.net", ""},
		{"google gsuite GSuite G-Suite gmail GMail google-workspace workspace",
			"3600 1 aspmx.l.google.com; 3600 5 alt1.aspmx.l.google.com; 3600 5 alt2.aspmx.l.google.com; " +
				"3600 10 alt3.aspmx.l.google.com; 3600 10 alt4.aspmx.l.google.com", "3600 1 smtp.google.com"},
		{"microsoft outlook Office365 office-365 o365 microsoft365 m365 exchange",
			"3600 1 exemple-org.mail.protection.outlook.com", ""},
		{"ovh OVH OVHcloud", "3600 1 mx0.mail.ovh.net; 3600 5 mx1.mail.ovh.net; 3600 50 mx2.mail.ovh.net; " +
			"3600 100 mx3.mail.ovh.net", ""},
	} {
		for word := range strings.FieldsSeq(c.words) {
			p, err := ps.Named(word)
			if err != nil {
				t.Errorf("%s: %v", word, err)
				continue
			}
			plan, err := p.Plan(name("exemple.org"))
			if err != nil || written(plan.Records) != c.plan || written(plan.Alternative) != c.alternative {
				t.Errorf("%s: %s, or %s; %v", word, written(plan.Records), written(plan.Alternative), err)
			}
		}
	}
}

func written(records []Record) string {
	var list []string
	for _, r := range records {
		list = append(list, fmt.Sprintf("%d %d %s", r.TTL/time.Second, r.Priority, r.Host))
	}
	return strings.Join(list, "; ")
}

func TestPlanRefuses(t *testing.T) {
	ps := providers(t)
	for _, word := range []string{"", "-", "nobody", "o", "a", "mailbox"} {
		if p, err := ps.Named(word); !errors.Is(err, ErrNoProvider) {
			t.Errorf("%q is %s", word, p.Name)
		}
	}
	infomaniak, err := ps.Named("infomaniak")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := infomaniak.Plan(name("exemple.org")); !errors.Is(err, ErrNoPlan) {
		t.Errorf("%v", err)
	}
	microsoft, err := ps.Named("microsoft")
	if err != nil {
		t.Fatal(err)
	}
	long := name(strings.Repeat("a", 60) + ".example") // the label of 68 octets cannot be
	if _, err := microsoft.Plan(long); !errors.Is(err, mailbox.ErrSyntax) {
		t.Errorf("%v", err)
	}
	if _, err := microsoft.Plan(mailbox.DomainName{}); !errors.Is(err, mailbox.ErrSyntax) {
		t.Errorf("%v", err)
	}
}

func TestProvidersFileIsStrict(t *testing.T) {
	const good = "[[provider]]\nname = \"A\"\nkind = \"mailbox\"\nhosts = [\"mx.a.example\"]\n"
	if _, err := ParseProviders([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		good + "colour = \"blue\"":                      "strict",
		strings.Replace(good, "mailbox", "x", 1):        "want a name, a kind and hosts",
		strings.Replace(good, `"mx.a.example"`, "", 1):  "want a name, a kind and hosts",
		strings.Replace(good, "mx.a", "MX.a", 1):        "lower case",
		strings.Replace(good, "mx.a.example", "*", 1):   "too wide",
		strings.Replace(good, "mx.a.example", "com", 1): "too wide",
		strings.Replace(good, "mx.a", "mx[1.a", 1):      "label",
		strings.Replace(good, "mx.a", "mx..a", 1):       "label",
		good + good: "also one of A",
		good + "records = [{ ttl = 0, priority = 1, host = \"mx.a.example\" }]":         "out of range",
		good + "records = [{ ttl = 1, priority = 65536, host = \"mx.a.example\" }]":     "out of range",
		good + "records = [{ ttl = 1, priority = 1, host = \"mx a\" }]":                 "invalid",
		good + "alternative = [{ ttl = 1, priority = 1, host = \"a\", accepts=[\"\"]}]": "pattern",
		"provider = 3": "provider",
	} {
		if _, err := ParseProviders([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", content, err, want)
		}
	}
}

// A pattern "*.x" takes every name below x; not x itself, and no name that only ends alike.
func TestPatternBelow(t *testing.T) {
	label := rapid.StringMatching(`[a-z0-9]{1,8}`)
	rapid.Check(t, func(t *rapid.T) {
		suffix := strings.Join(rapid.SliceOfN(label, 2, 3).Draw(t, "suffix"), ".")
		before := strings.Join(rapid.SliceOfN(label, 1, 3).Draw(t, "before"), ".")
		p, err := parsePattern("*." + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if host := before + "." + suffix; !p.matches(name(host)) {
			t.Errorf("*.%s does not take %s", suffix, host)
		}
		for _, host := range []string{suffix, "x" + suffix, suffix + ".x"} {
			if p.matches(name(host)) {
				t.Errorf("*.%s takes %s", suffix, host)
			}
		}
	})
}
