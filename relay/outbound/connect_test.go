package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/mailbox/smtpclient"
	"mxbypass/routing"
)

// TestConnect: which of two servers is taken, whatever the better one does, and what remains of it.
func TestConnect(t *testing.T) {
	for _, c := range []struct {
		title string
		best  script // nil: nobody is there
		host  string
	}{
		{"the best", script{}, "mx.d.test[127.0.0.1]"},
		{"dead", nil, "worse.d.test[127.0.0.2]"},
		{"busy", script{"connect": "421 4.3.2 busy|drop"}, "worse.d.test[127.0.0.2]"},
		{"not now", script{"connect": "450 later"}, "worse.d.test[127.0.0.2]"},
		{"no mail here", script{"connect": "554 5.7.1 not you"}, "worse.d.test[127.0.0.2]"},
		{"silent", script{"connect": drop}, "worse.d.test[127.0.0.2]"},
		{"hanging", script{"connect": hang}, "worse.d.test[127.0.0.2]"},
		{"babble", script{"connect": "SSH-2.0-OpenSSH"}, "worse.d.test[127.0.0.2]"},
		{"EHLO later", script{"EHLO": "450 later"}, "worse.d.test[127.0.0.2]"},
		{"neither EHLO nor HELO", script{"EHLO": "502 no", "HELO": "550 no"}, "worse.d.test[127.0.0.2]"},
		{"only HELO", script{"EHLO": "502 no"}, "mx.d.test[127.0.0.1]"},
	} {
		t.Run(c.title, func(t *testing.T) {
			w := newWorld(t, Options{Timeouts: smtpclient.Timeouts{Greeting: 200 * time.Millisecond}})
			if c.best != nil {
				w.serve("127.0.0.1", always(c.best))
			}
			w.serve("127.0.0.2", always(nil))
			conn := w.connect(hopMX("d.test"))
			if conn.Host() != c.host || conn.TLS() != "" || !conn.Usable() {
				t.Errorf("%s, TLS %q", conn.Host(), conn.TLS())
			}
			if mta, _, _ := strings.Cut(c.host, "["); conn.mta() != mta {
				t.Errorf("%q", conn.mta())
			}
		})
	}
}

// When nobody can be had, the failure is that of the best server, with the words of the others; nothing is final.
func TestConnectNobody(t *testing.T) {
	w := newWorld(t, Options{})
	w.serve("127.0.0.1", always(script{"connect": "554-5.7.1 go\r\n554 5.7.1 away"}))
	f := w.failing(hopMX("d.test"))
	if f.Permanent || f.Host != "mx.d.test[127.0.0.1]" || f.MTA != "mx.d.test" || f.Command != "connect" || f.Code != 554 ||
		f.Enhanced != [3]int{4, 7, 1} || f.Text != "go / away (then worse.d.test[127.0.0.2]: connect: connection refused)" {
		t.Errorf("%+v", f)
	}
	var said *mailbox.RemoteError
	if !errors.As(f, &said) || said.Code != 554 {
		t.Error("the cause is lost")
	}
	if n := w.dns.questions(); n != 3 {
		t.Errorf("%d questions", n)
	}
	w.failing(hopMX("d.test")) // and DNS may have news
	if n := w.dns.questions(); n != 6 {
		t.Errorf("%d questions", n)
	}
	f = w.failing(hopMX("nowhere.test"))
	if !f.Permanent || f.Command != "DNS" || f.Error() != "there is no domain nowhere.test" {
		t.Errorf("%+v", f)
	}
}

// Servers with a lot to say.
func TestConnectWordy(t *testing.T) {
	w := newWorld(t, Options{}, "d.test MX 30 three.test", "d.test MX 30 four.test", "three.test A 127.0.0.3", "four.test A 127.0.0.4")
	for _, addr := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		w.serve(addr, always(script{"connect": "421 " + addr + strings.Repeat("\x00ü", 1500) + "|drop"}))
	}
	f := w.failing(hopMX("d.test"))
	if len(f.Text) > maxText || !strings.HasPrefix(f.Text, "127.0.0.1") || !strings.Contains(f.Text, "(then worse.d.test[127.0.0.2] answered") ||
		!strings.Contains(f.Text, "four.test") || f.Host != "mx.d.test[127.0.0.1]" || strings.ContainsRune(f.Error(), 0) {
		t.Errorf("%d octets: %q", len(f.Text), f.Text)
	}
}

// Those that failed just now are tried last, for a while; those that answered again are well.
func TestSick(t *testing.T) {
	w := newWorld(t, Options{})
	w.serve("127.0.0.2", always(nil))
	first := w.serve("127.0.0.1", func(n int) script {
		if n == 1 {
			return script{"connect": "421 busy|drop"}
		}
		return nil
	})
	for _, c := range []struct {
		after    time.Duration
		host     string
		sessions int
	}{
		{0, "worse.d.test[127.0.0.2]", 1},
		{0, "worse.d.test[127.0.0.2]", 1},
		{sickFor - 1, "worse.d.test[127.0.0.2]", 1},
		{1, "mx.d.test[127.0.0.1]", 2},
		{0, "mx.d.test[127.0.0.1]", 3},
	} {
		w.clock.advance(c.after)
		conn, err := w.Connect(t.Context(), hopMX("d.test"))
		if err != nil {
			t.Fatal(err)
		}
		conn.smtp.Quit() // not kept
		conn.Release()
		if n, _ := first.count(); conn.Host() != c.host || n != c.sessions {
			t.Errorf("%s after %d sessions, want %+v", conn.Host(), n, c)
		}
	}
	if len(w.sick.until) != 0 {
		t.Errorf("%v", w.sick.until)
	}
	targets := func(ends ...byte) (all []target) {
		for _, end := range ends {
			all = append(all, target{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, end}), 25)})
		}
		return all
	}
	for _, i := range []byte{1, 3} {
		w.sick.failed(targets(i)[0].addr)
	}
	if got := w.sick.last(targets(1, 2, 3, 4)); !slices.Equal(got, targets(2, 4, 1, 3)) {
		t.Errorf("%v", got)
	}
}

// A context that ends says nothing of the servers, and no other one is tried.
func TestConnectContext(t *testing.T) {
	w := newWorld(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w.serve("127.0.0.1", func(int) script { cancel(); return script{"connect": hang} })
	second := w.serve("127.0.0.2", always(nil))
	_, err := w.Connect(ctx, hopMX("d.test"))
	var f *Failure
	if !errors.As(err, &f) || f.Permanent || f.Scope != ScopeDestination || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v", err)
	}
	if n, _ := second.count(); n != 0 || len(w.sick.until) != 0 {
		t.Errorf("%d sessions, sick: %v", n, w.sick.until)
	}
}

// TestOpportunisticTLS: encrypted with anybody; in the clear where that fails, on a new connection (RFC 7435).
func TestOpportunisticTLS(t *testing.T) {
	ehlo := "250-mx.d.test\r\n250 STARTTLS"
	for _, c := range []struct {
		title    string
		script   script
		tls      string
		host     string
		sessions int
	}{
		{"there", script{"EHLO": ehlo, "STARTTLS": handshake}, "TLSv1.3", "mx.d.test[127.0.0.1]", 1},
		{"not there", script{}, "", "mx.d.test[127.0.0.1]", 1},
		{"refused", script{"EHLO": ehlo, "STARTTLS": "454 4.7.0 not now"}, "", "mx.d.test[127.0.0.1]", 2},
		{"no handshake", script{"EHLO": ehlo, "STARTTLS": broken}, "", "mx.d.test[127.0.0.1]", 2},
		{"dropped", script{"EHLO": ehlo, "STARTTLS": drop}, "", "mx.d.test[127.0.0.1]", 2},
		{"hangs", script{"EHLO": ehlo, "STARTTLS": hang}, "", "mx.d.test[127.0.0.1]", 2},
		{"EHLO refused inside", script{"EHLO": ehlo, "STARTTLS": handshake, "EHLO/TLS": "421 4.3.2 no"}, "", "worse.d.test[127.0.0.2]", 1},
	} {
		t.Run(c.title, func(t *testing.T) {
			w := newWorld(t, Options{Timeouts: smtpclient.Timeouts{TLS: 300 * time.Millisecond}})
			s := w.serve("127.0.0.1", always(c.script))
			w.serve("127.0.0.2", always(nil))
			conn := w.connect(hopMX("d.test"))
			if n, _ := s.count(); conn.TLS() != c.tls || conn.Host() != c.host || n != c.sessions {
				t.Errorf("%s, TLS %q, %d sessions", conn.Host(), conn.TLS(), n)
			}
			if strings.Contains(s.heard(), "MAIL") {
				t.Error(s.heard())
			}
		})
	}
}

// TestSmarthost: TLS and AUTH that are wanted are had, or there is no mail.
func TestSmarthost(t *testing.T) {
	ehlo := "250-mx.d.test\r\n250 STARTTLS"
	inside := "250-mx.d.test\r\n250 AUTH PLAIN LOGIN"
	good := script{"EHLO": ehlo, "STARTTLS": handshake, "EHLO/TLS": inside, "AUTH": "235 2.7.0 welcome"}
	_, pool := certificate()
	for _, c := range []struct {
		title  string
		host   string
		script script
		change func(*Smarthost)
		want   string // TLS, or the failure
	}{
		{"TLS and AUTH", "mx.d.test", good, nil, "TLSv1.3, verified as configured"},
		{"another name", "one.test", good, nil, "4.7.5 TLS handshake"},
		{"an address", "[127.0.0.1]", good, nil, "4.7.5 TLS handshake"},
		{"nobody we trust", "mx.d.test", good, func(s *Smarthost) { s.TLS.RootCAs = nil }, "4.7.5 TLS handshake"},
		{"no STARTTLS", "mx.d.test", script{"EHLO": "250-mx.d.test\r\n250 AUTH PLAIN"}, nil, "4.7.5 STARTTLS"},
		{"STARTTLS refused", "mx.d.test", script{"EHLO": ehlo, "STARTTLS": "454 4.7.0 no"}, nil, "4.7.0 STARTTLS"},
		{"no AUTH", "mx.d.test", script{"EHLO": ehlo, "STARTTLS": handshake}, nil, "4.4.2 "},
		{"wrong password", "mx.d.test", script{"EHLO": ehlo, "STARTTLS": handshake, "EHLO/TLS": inside, "AUTH": "535 5.7.8 wrong"}, nil,
			"4.7.8 AUTH"},
		{"opportunistic", "one.test", script{"EHLO": ehlo, "STARTTLS": broken}, func(s *Smarthost) { s.TLS, s.User = nil, "" }, ""},
		{"implicit, and not there", "mx.d.test", script{}, func(s *Smarthost) { s.Implicit = true }, "4.7.5 TLS handshake"},
	} {
		t.Run(c.title, func(t *testing.T) {
			host := hop("smtp://" + strings.Trim(c.host, "[]")).Server
			smart := &Smarthost{Host: host, TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, User: "us", Password: "secret"}
			if c.change != nil {
				c.change(smart)
			}
			w := newWorld(t, Options{Smarthost: smart, Timeouts: smtpclient.Timeouts{TLS: 5 * time.Second, Greeting: 5 * time.Second}})
			smart.Host.Port = w.port
			s := w.serve("127.0.0.1", always(c.script))
			conn, err := w.Connect(t.Context(), hop("smarthost"))
			if err == nil {
				if conn.TLS() != c.want {
					t.Errorf("TLS %q", conn.TLS())
				}
				conn.Release()
				return
			}
			f := failureOf(err, "", "")
			if got := enhanced(f) + " " + f.Command; got != c.want || f.Permanent || f.Scope != ScopeDestination || f.MTA != nameOf(target{name: host.Host}) {
				t.Errorf("%s: %+v", got, f)
			}
			if heard := s.heard(); strings.Contains(heard, "MAIL") || c.want != "4.7.8 AUTH" && strings.Contains(heard, "AUTH") {
				t.Error(heard)
			}
		})
	}
}

// A password needs TLS, a client needs a name and a resolver.
func TestNew(t *testing.T) {
	for _, o := range []Options{
		{},
		{Hostname: name("us.test")},
		{Hostname: address("<x@[192.0.2.1]>").Domain, Resolver: zone()},
		{Hostname: name("us.test"), Resolver: zone(), Smarthost: &Smarthost{User: "us"}},
	} {
		if c, err := New(o); err == nil {
			t.Errorf("%+v", c.o)
		}
	}
	client := newClient(t, Options{Resolver: zone(), Timeouts: smtpclient.Timeouts{Mail: time.Second}})
	want := smtpclient.DefaultTimeouts()
	want.Mail = time.Second
	if client.o.Timeouts != want || client.o.MXPort != 25 || client.o.Now == nil {
		t.Errorf("%+v", client.o)
	}
}

// One source per family, and none to the machine itself.
func TestSource(t *testing.T) {
	client := newClient(t, Options{Resolver: zone(), Sources: []netip.Addr{ip("2001:db8::7"), ip("::ffff:192.0.2.7")}})
	for to, want := range map[string]string{"198.51.100.1:25": "::ffff:192.0.2.7", "[2001:db8::1]:25": "2001:db8::7", "127.0.0.1:25": "",
		"[::1]:25": ""} {
		got := client.source(netip.MustParseAddrPort(to))
		if want == "" && got.IsValid() || want != "" && got != ip(want) {
			t.Errorf("%s: %v", to, got)
		}
	}
}

// Connections are kept per hop, and used again while they live and are not too old.
func TestKept(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve("127.0.0.1", func(n int) script {
		if n == 2 {
			return script{"MAIL": "421 4.3.2 shutting down|drop"}
		}
		return nil
	})
	use := func(h routing.Hop, sessions int) *Conn {
		t.Helper()
		conn, err := w.Connect(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := s.count(); n != sessions {
			t.Errorf("%d sessions", n)
		}
		return conn
	}
	use(hopMX("d.test"), 1).Release()
	conn := use(hopMX("d.test"), 1)
	other := use(hopMX("one.test"), 2) // the same server, and yet another hop
	conn.Release()
	if r := other.Send(t.Context(), mailTo("<a@one.test>")); r[0].Failure == nil || other.Usable() {
		t.Errorf("%+v", r)
	}
	other.Release()
	use(hopMX("one.test"), 3).Release()
	conn = use(hopMX("d.test"), 3)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	conn.Release() // closed now
	if f := w.failing(hopMX("d.test")); !errors.Is(f, smtpclient.ErrPoolClosed) || f.Permanent {
		t.Errorf("%v", f)
	}
}

func enhanced(f *Failure) string {
	var b []byte
	for i, n := range f.Enhanced {
		if i > 0 {
			b = append(b, '.')
		}
		b = append(b, byte('0'+n%10))
	}
	return string(b)
}
