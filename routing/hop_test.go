package routing_test

import (
	"strings"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/routing"
)

func TestParseHop(t *testing.T) {
	literal := forward(t, "u@[192.0.2.1]").Address.Domain
	literal6 := forward(t, "u@[IPv6:2001:db8::1]").Address.Domain
	for s, want := range map[string]routing.Hop{
		"smarthost":              {Kind: routing.HopSmarthost},
		"mx:d.test":              {Kind: routing.HopMX, Domain: name("d.test")},
		"mx:[192.0.2.1]":         {Kind: routing.HopMX, Domain: literal},
		"mx:[IPv6:2001:db8::1]":  {Kind: routing.HopMX, Domain: literal6},
		"external:d.test":        {Kind: routing.HopExternal, Domain: name("d.test")},
		"smtp://h.test:2525":     {Kind: routing.HopServer, Server: mailbox.NextHop{Host: name("h.test"), Port: 2525}},
		"mx:d.test;requiretls":   {Kind: routing.HopMX, Domain: name("d.test"), Need: routing.NeedTLS},
		"smarthost;tls-optional": {Kind: routing.HopSmarthost, Need: routing.NeedDelivery},
		"smtp://[2001:db8::1]:1": {Kind: routing.HopServer, Server: mailbox.NextHop{Host: literal6, Port: 1}},
	} {
		hop, err := routing.ParseHop(s)
		if err != nil || hop != want || hop.String() != s {
			t.Errorf("%q: %+v (%s), %v", s, hop, hop, err)
		}
	}
	for _, s := range []string{"", "mx", "mx:", "mx:[", "mx:[127.0.0.1", "mx:a b", "mx:u@d.test", "external:", "store:cloud",
		"smarthost ", "smtp://", ";requiretls", "mx:d.test;tls", "mx:d.test;requiretls;requiretls", "smtp://h.test:0", "MX:d.test", "lmtp://h.test", strings.Repeat("mx:", 1000)} {
		if hop, err := routing.ParseHop(s); err == nil {
			t.Errorf("%q: %+v", s, hop)
		}
	}
	if s := (routing.Hop{}).String(); s != "" {
		t.Errorf("no hop is written %q", s)
	}
}

// FuzzParseHop: what is read is written in one way, and that way is read as the same hop: a queue finds its mail again.
func FuzzParseHop(f *testing.F) {
	for _, s := range []string{"smarthost", "mx:d.test", "mx:[192.0.2.1]", "mx:[IPv6:::1]", "external:ü.test", "mx:D.TEST.",
		"smtp://h.test", "smtp://[::1]:25", "smtp://192.0.2.1:2525", "smtp://1.2.3", "mx:[IPv6:::ffff:1.2.3.4]", "mx:[x@[1.2.3.4]", "external:d.test;requiretls",
		"smtp://h.test:25;tls-optional"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hop, err := routing.ParseHop(s)
		if err != nil {
			return
		}
		if hop.Kind == routing.HopNone {
			t.Fatalf("%q is no hop", s)
		}
		again, err := routing.ParseHop(hop.String())
		if err != nil || again != hop || again.String() != hop.String() {
			t.Fatalf("%q is %+v, written %q, read again %+v, %v", s, hop, hop, again, err)
		}
		if mailbox.Printable(hop.String()) != hop.String() {
			t.Fatalf("%q is written %q", s, hop)
		}
	})
}
