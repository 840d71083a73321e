package guard

import (
	"net/netip"
	"testing"

	"mxbypass/mailbox"
)

func TestHello(t *testing.T) {
	h := &Hello{
		Names:     []mailbox.DomainName{mailbox.MustDomainName("mx.host.test"), mailbox.MustDomainName("xn--bcher-kva.example")},
		Addresses: []netip.Addr{ip("192.0.2.25"), ip("2001:db8::25")},
	}
	const outside = "203.0.113.1"
	for _, tt := range []struct {
		name, client string
		want, strict error
	}{
		{"mail.example.org", outside, nil, nil},
		{"mail.example.org.", outside, nil, nil},
		{"mx.host.test", outside, ErrOurName, ErrOurName},
		{"MX.Host.TEST.", outside, ErrOurName, ErrOurName},
		{"bücher.example", outside, ErrOurName, ErrOurName},
		{"sub.mx.host.test", outside, nil, nil},
		{"mx.host.test", "127.0.0.1", nil, nil},
		{"mx.host.test", "::1", nil, nil},
		{"mx.host.test", "10.1.2.3", nil, nil},
		{"mx.host.test", "fe80::1%eth0", nil, nil},
		{"mx.host.test", "192.0.2.25", nil, nil},
		{"mx.host.test", "::ffff:192.0.2.25", nil, nil},
		{"mx.host.test", "", nil, nil},
		{"[203.0.113.1]", outside, nil, nil},
		{"[192.0.2.25]", outside, ErrOurName, ErrOurName},
		{"[::ffff:192.0.2.25]", outside, ErrOurName, ErrOurName},
		{"[IPv6:2001:db8::25]", outside, ErrOurName, ErrOurName},
		{"[ipv6:2001:db8:0::25]", outside, ErrOurName, ErrOurName},
		{"[2001:db8::25]", outside, ErrOurName, ErrOurName},
		{"[IPv6:2001:db8::25]", "2001:db8::25", nil, nil},
		{"203.0.113.1", outside, ErrBareAddress, ErrBareAddress},
		{"2001:db8::1", outside, ErrBareAddress, ErrBareAddress},
		{"203.0.113.1", "127.0.0.1", ErrBareAddress, ErrBareAddress},
		{"localhost", outside, nil, ErrHelloName},
		{"DESKTOP-1234", outside, nil, ErrHelloName},
		{"my_host.example.org", outside, nil, nil},
		{"-", outside, nil, ErrHelloName},
		{"[", outside, nil, ErrHelloName},
		{"[]", outside, nil, ErrHelloName},
		{"[x]", outside, nil, ErrHelloName},
		{"[192.0.2.25", outside, nil, ErrHelloName},
		{"a?b.example", outside, nil, ErrHelloName},
	} {
		var client netip.Addr
		if tt.client != "" {
			client = ip(tt.client)
		}
		for strict, want := range map[bool]error{false: tt.want, true: tt.strict} {
			h.Strict = strict
			if got := h.Check(tt.name, client); got != want {
				t.Errorf("%q from %s, strict %v: %v instead of %v", tt.name, tt.client, strict, got, want)
			}
		}
	}
}

// Whatever a client says, it is judged, and what is refused leniently is refused strictly.
func FuzzHello(f *testing.F) {
	for _, s := range []string{"mail.example.org", "mx.host.test", "[192.0.2.25]", "[IPv6:::1]", "192.0.2.1", "[", ""} {
		f.Add(s)
	}
	h := Hello{Names: []mailbox.DomainName{mailbox.MustDomainName("mx.host.test")}, Addresses: []netip.Addr{ip("192.0.2.25")}}
	strict := h
	strict.Strict = true
	f.Fuzz(func(t *testing.T, name string) {
		lenient, hard := h.Check(name, ip("203.0.113.1")), strict.Check(name, ip("203.0.113.1"))
		if lenient != nil && hard != lenient || lenient == ErrHelloName {
			t.Errorf("%q: %v, strictly %v", name, lenient, hard)
		}
	})
}
