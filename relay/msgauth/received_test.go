package msgauth

import (
	"net/netip"
	"strings"
	"testing"

	"mxbypass/mailbox"
)

// The shapes in which servers write Received fields.
func TestParseReceived(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		// Google, Postfix, Exim, sendmail, qmail, Microsoft, ours.
		"from mail.a.test (mail.a.test. [192.0.2.1]) by mx.google.com with ESMTPS id x for <b@o.test>; date": "192.0.2.1 mx.google.com",
		"from a.test (unknown [IPv6:2001:db8::1]) (using TLSv1.3) by mx.b.test (Postfix) with ESMTPS; date":  "2001:db8::1 mx.b.test",
		"from [192.0.2.1] (helo=a.test) by mx.b.test with esmtp (Exim 4.96) id x; date":                      "192.0.2.1 mx.b.test",
		"from a.test ([192.0.2.1] helo=[198.51.100.1]) by mx.b.test with esmtp; date":                        "192.0.2.1 mx.b.test",
		"from a.test (HELO [198.51.100.1]) ([192.0.2.1]) by mx.b.test with SMTP; date":                       "192.0.2.1 mx.b.test",
		"from unknown (HELO a.test) (192.0.2.1) by mx.b.test with SMTP; date":                                "192.0.2.1 mx.b.test",
		"from A.eurprd01.prod.exchangelabs.com (2603:10a6:208::1) by B.eurprd01.prod.outlook.com\t(2603:10a6:20b::2) with" +
			" Microsoft SMTP Server (version=TLS1_2); date": "2603:10a6:208::1 b.eurprd01.prod.outlook.com",
		"from [198.51.100.1] (a.test [192.0.2.1]) by MX.b.test. with ESMTP; date": "192.0.2.1 mx.b.test",
		"from me ([192.0.2.1]:25) by mx.b.test; date":                             "192.0.2.1 mx.b.test",
		"from me (user@a.test [::ffff:192.0.2.1]) by mx.b.test; date":             "192.0.2.1 mx.b.test",
		// What the client's ident server says is the client's word, too.
		"from a.test (HELO b.test) ([198.51.100.1]@192.0.2.1) by mx.b.test; date":           "192.0.2.1 mx.b.test",
		"from a.test (IDENT:[198.51.100.1]@a.test [192.0.2.1]) by mx.b.test; date":          "192.0.2.1 mx.b.test",
		"from unknown (HELO a.test) (user@192.0.2.1) by mx.b.test with SMTP; date":          "192.0.2.1 mx.b.test",
		"from unknown (HELO x@198.51.100.1) (x=@198.51.100.2@192.0.2.1) by mx.b.test; date": "invalid IP mx.b.test",
		// Without an address.
		"by 2002:a05:6102:22c6:0:0:0:0 with SMTP id x; date":           "invalid IP 2002:a05:6102:22c6:0:0:0:0",
		"by mail-x.google.com with SMTP id x (from [192.0.2.1]); date": "invalid IP mail-x.google.com",
		"from a.test (localhost) by mx.b.test; date":                   "invalid IP mx.b.test",
		"(qmail 123 invoked by uid 0); 1 Jan 2026 from [192.0.2.1]":    "invalid IP ",
		"from by by mx.b.test; date":                                   "invalid IP mx.b.test",
		"from a.test (((":                                              "invalid IP ", "from a.test ([192.0.2.1": "invalid IP ", "": "invalid IP ", ";": "invalid IP ",
		"from a.test (version 1.2.3.4.5 [no]) by x; date": "invalid IP x",
	} {
		h := parseReceived(value)
		if got := h.from.String() + " " + h.by; got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// An address that is found stands in the field, and nothing is found in what the client said alone.
func FuzzParseReceived(f *testing.F) {
	for _, s := range []string{"from a (b [192.0.2.1]) by c; d", "from [::1] by x", "by", "from (((", "from a (HELO [1.2.3.4]) by b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := parseReceived(value)
		if h.from.IsValid() && (h.from.Is4In6() || h.from.Zone() != "") {
			t.Errorf("%q: %s", value, h.from)
		}
		if strings.ContainsAny(h.by, " \t;") {
			t.Errorf("%q: by %q", value, h.by)
		}
	})
}

func TestOutside(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "127.0.0.1": false,
		"::1": false, "fe80::1": false, "fd00::1": false, "0.0.0.0": false, "224.0.0.1": false, "169.254.1.1": false,
	} {
		if got := outside(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if outside(netip.Addr{}) {
		t.Error("no address is one")
	}
}

func TestOriginalSender(t *testing.T) {
	t.Parallel()
	const path = "Return-Path: <first@author.test>\r\nReturn-Path: <second@author.test>\r\n\r\n"
	for _, c := range []struct{ reverse, message, want string }{
		{"x@author.test", path, "x@author.test"},
		{"SRS0=abcd=QX=author.test=x@forward.test", path, "x@author.test"},
		{"srs0+abcd=QX=author.test=x=y@forward.test", path, "x=y@author.test"},
		{"SRS1=efgh=forward.test==abcd=QX=author.test=x@second.test", path, "x@author.test"},
		{"user+SRS=abcde=QX=author.test=x@tenant.test", path, "x@author.test"},
		{"user+SRS0=abcde=QX=author.test=x@tenant.test", path, "x@author.test"},
		{"SRS0=abcd=QX@forward.test", path, ""}, {"SRS0@forward.test", path, "SRS0@forward.test"},
		{"SRS1=abc@forward.test", path, ""}, {"SRS0=a=b=.=x@forward.test", path, ""},
		{"b+caf_=bypass=mx.host.test@gmail.test", path, "first@author.test"},
		{"b+caf_=bypass=mx.host.test@gmail.test", "\r\n", ""},
		{"b@ours.test", path, "first@author.test"}, {"b@ours.test", "Return-Path: <b@ours.test>\r\n\r\n", ""},
		{"b@ours.test", "Return-Path: <>\r\n\r\n", ""}, {"b@ours.test", "Return-Path: nonsense\r\n\r\n", ""},
		{"", path, ""},
	} {
		got, known := originalSender(address(c.reverse), read(t, c.message), name("ours.test"))
		if !known {
			got = mailbox.Address{}
		}
		want := address(c.want)
		if got != want {
			t.Errorf("%s: %s, %t; want %s", c.reverse, got, known, want)
		}
	}
}
