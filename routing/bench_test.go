package routing_test

import (
	"context"
	"testing"

	"mxbypass/mailbox"
	"mxbypass/routing"
	"mxbypass/routing/mx"
)

func BenchmarkRoute(b *testing.B) {
	d := newDirectory()
	d.add(mailbox.Domain{Name: name("exemple.org"), Site: "cloud", MX: mailbox.PolicyAuto, Bypass: true}, "foobar")
	r := router(b, routing.Options{
		Hostname: name("own.test"),
		Gateways: []routing.Gateway{{Host: name("mx.host.test"), Sites: everySite}},
		Resolver: resolver(d),
		MX:       states{name("exemple.org"): {Kind: mx.External, Provider: "Google Workspace"}},
	})
	for _, c := range []struct{ name, path string }{
		{"bypass", "foobar%exemple.org@mx.host.test"},
		{"plain", "foobar@exemple.org"},
		{"no mailbox", "nobody%exemple.org@mx.host.test"},
		{"not hosted", "foobar%x.test@mx.host.test"},
		{"relay denied", "foobar@x.test"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				path, err := mailbox.ParsePath(c.path, false)
				if err != nil {
					b.Fatal(err)
				}
				_ = r.Route(context.Background(), path, routing.Client{})
			}
		})
	}
}
