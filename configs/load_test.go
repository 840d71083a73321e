package configs

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mxbypass/mailbox"
)

var update = flag.Bool("update", false, "write the problems of testdata/bad/*.toml into *.want")

// Every file of testdata/bad gives exactly the problems of its .want file.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Load(file)
			if err == nil {
				t.Fatal("it loads")
			}
			got := strings.ReplaceAll(err.Error(), filepath.Dir(file)+"/", "") + "\n"
			want := strings.TrimSuffix(file, ".toml") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestGood(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"": string(text), " with CRLF": strings.ReplaceAll(string(text), "\n", "\r\n"), " with BOM": "\ufeff" + string(text),
		} {
			if _, err := Parse(filepath.Base(file)+name, []byte(text)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestContract(t *testing.T) {
	c, err := Load("testdata/good/contract.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Hostname = mailbox.MustDomainName("mx.host.test")
	want.Listeners = []Listener{{Address: Endpoint{"tcp", "127.0.0.1:2525"}, Protocol: SMTP, TLS: ListenerAuto, Auth: true}}
	want.Gateways = []Gateway{
		{mailbox.MustDomainName("mx.host.test"), []string{"*"}, []string{"%"}},
		{mailbox.MustDomainName("vps42.host.test"), []string{"vps42"}, []string{"%"}},
	}
	want.Sites = make([]Site, 2)
	for i := range want.Sites {
		want.Sites[i].setDefaults()
	}
	want.Sites[0].Name, want.Sites[0].Store = "cloud", StoreMaildir
	want.Sites[0].Path = "/var/mail/{domain}/{user}/Maildir"
	want.Sites[1].Name, want.Sites[1].Store = "vps42", StoreLMTP
	want.Sites[1].Address = Endpoint{"unix", "/run/dovecot/lmtp"}
	want.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5353")}
	if diff := cmp.Diff(want, *c, sameValues...); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

var sameValues = []cmp.Option{
	cmpopts.EquateEmpty(), cmpopts.EquateComparable(mailbox.DomainName{}, netip.AddrPort{}),
	cmpopts.IgnoreUnexported(Config{}),
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, "long.toml")
	if err := os.WriteFile(long, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(long, maxFile+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.toml"): "no such file or directory",
		dir:                             "not a file",
		"/dev/zero":                     "not a file",
		long:                            "longer than 16MiB",
	} {
		_, err := Load(path)
		if err == nil || !strings.HasPrefix(err.Error(), path+":1:1: cannot be read: ") ||
			!strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// The reference names every key, each with its true default and a comment.
func TestReference(t *testing.T) {
	c, err := Parse("reference.toml", []byte(Reference))
	if err != nil {
		t.Fatal(err)
	}
	d := readDocument("reference.toml", []byte(Reference))
	there := map[string]bool{}
	for path := range d.keys {
		there[withoutIndexes(path)] = true
	}
	for _, key := range knownKeys() {
		if !there[key] {
			t.Errorf("%s is not documented", key)
		}
	}
	for i, line := range strings.Split(Reference, "\n") {
		if strings.Contains(line, " = ") && !strings.Contains(line, "# ") && !strings.HasPrefix(line, "name = ") &&
			!strings.HasPrefix(line, "store = ") {
			t.Errorf("line %d says nothing about its key: %s", i+1, line)
		}
	}

	want := Default()
	for i, l := range c.Listeners {
		wantDefaults(t, element("listener", i), &l, &Listener{})
	}
	for i, g := range c.Gateways {
		wantDefaults(t, element("gateway", i), &g, &Gateway{})
	}
	for i, s := range c.Sites {
		wantDefaults(t, element("site", i), &s, &Site{})
	}
	for i, f := range c.Filters {
		wantDefaults(t, element("filter", i), &f, &Filter{})
	}
	for i, l := range c.Lists {
		wantDefaults(t, element("dnslist", i), &l, &List{})
	}
	c.Lists = nil
	c.Listeners, c.Gateways, c.Sites, c.Certificates, c.Destinations, c.Filters = nil, nil, nil, nil, nil, nil
	if diff := cmp.Diff(want, *c, sameValues...); diff != "" {
		t.Errorf("the reference shows other defaults, -default +reference:\n%s", diff)
	}
}

// wantDefaults compares those keys of a table that have a default.
func wantDefaults(t *testing.T, path string, table, fresh defaulter) {
	t.Helper()
	fresh.setDefaults()
	got, want := reflect.ValueOf(table).Elem(), reflect.ValueOf(fresh).Elem()
	for i := range want.NumField() {
		if !want.Field(i).IsZero() && !reflect.DeepEqual(got.Field(i).Interface(), want.Field(i).Interface()) {
			t.Errorf("%s.%s: the reference shows %v, the default is %v", path, want.Type().Field(i).Tag.Get("toml"),
				got.Field(i), want.Field(i))
		}
	}
}

func TestNearest(t *testing.T) {
	for key, want := range map[string]string{
		"limts.recipients":        "limits.recipients",
		"recipients":              "limits.recipients",
		"limit.message_sizes":     "limits.message_size",
		"gateway.site":            "gateway.sites",
		"hsotname":                "hostname",
		"HostName":                "hostname",
		"clients.exempt_networks": "abuse.exempt_networks",
		"frobnicate":              "",
		"":                        "",
	} {
		if got := nearest(key); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.toml", "testdata/bad/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	// Whatever the text: a configuration, or problems that each are one printable line with a place in the file.
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("x.toml", text)
		if c == nil && err == nil {
			t.Fatal(c, err)
		}
		if err == nil {
			if len(c.Gateways) == 0 || len(c.Sites) == 0 || len(c.Listeners) == 0 {
				t.Fatal("nothing to do, and no problem")
			}
			if q := c.Queue; q.RetryFirst > q.RetryMax || q.RetryMax > q.Lifetime || q.FirstConnections < 1 ||
				q.FirstConnections > q.ConnectionsPerDestination || q.ConnectionsPerDestination > q.Connections {
				t.Fatalf("a schedule or limits that contradict themselves, and no problem: %+v", q)
			}
			return
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range err.(Problems) {
			if p.Line < 1 || p.Line > lines || p.Column < 1 {
				t.Errorf("no such place: %v", p)
			}
			if s := p.Error(); mailbox.Printable(s) != s || p.Text == "" {
				t.Errorf("not one printable line: %q", s)
			}
		}
	})
}

// The demo's configuration is one that loads, and has what the demo replaces.
func TestDemo(t *testing.T) {
	text, err := Demo.ReadFile("demo/mxbypass.toml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("mxbypass.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Listeners[0].Address.String(); got != DemoListen {
		t.Error(got)
	}
	if got := c.DNS.Servers[0].String(); got != DemoDNS {
		t.Error(got)
	}
	for _, path := range []string{c.StateDir, c.Sites[0].Path, c.Sites[1].Path, c.Directory.Path} {
		if !strings.HasPrefix(path, DemoDir+"/") {
			t.Error(path)
		}
	}
	// Whoever is trusted, and wherever his mail is for: it stays on this machine.
	if hop, err := netip.ParseAddrPort(strings.TrimPrefix(c.Relay.Smarthost.String(), "smtp://")); err != nil ||
		!hop.Addr().IsLoopback() {
		t.Errorf("smarthost %v: %v", c.Relay.Smarthost, err)
	}
	for _, p := range c.Clients.TrustedNetworks {
		if !p.Addr().IsLoopback() {
			t.Errorf("%v is trusted", p)
		}
	}
}
