package mx

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":          "192.0.2.1:53",
		"192.0.2.1:5353":     "192.0.2.1:5353",
		"2001:db8::1":        "[2001:db8::1]:53",
		"[2001:db8::1]":      "[2001:db8::1]:53",
		"[2001:db8::1]:5353": "[2001:db8::1]:5353",
		"fe80::1%eth0":       "[fe80::1%eth0]:53",
		"localhost:53":       "",
		"192.0.2.1:0":        "",
		"":                   "",
		"192.0.2.1:x":        "",
	} {
		got, err := ParseServer(in)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	_, err := NewDNS(DNSOptions{Servers: []string{"one", "192.0.2.1", "two"}})
	if err == nil || !strings.Contains(err.Error(), `"one"`) || !strings.Contains(err.Error(), `"two"`) {
		t.Errorf("%v", err)
	}
}

// The system's servers are read again when the file changes.
func TestSystemServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	s := &systemServers{path: file}
	expect := func(want string) {
		t.Helper()
		if got := strings.Join(s.list(), " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect("127.0.0.1:53") // no file
	write("# none yet\nsearch x.example\n")
	expect("127.0.0.1:53")
	write("nameserver 192.0.2.1\nnameserver not-an-address\nnameserver 2001:db8::1\noptions rotate\n")
	expect("192.0.2.1:53 [2001:db8::1]:53")
	expect("192.0.2.1:53 [2001:db8::1]:53")
	write("nameserver 192.0.2.77\n")
	expect("192.0.2.77:53")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect("127.0.0.1:53")
}

// Whoever looks a name up through the system's servers follows the file.
func TestSystemServersAreAsked(t *testing.T) {
	d, err := NewDNS(DNSOptions{SystemFile: filepath.Join(t.TempDir(), "missing")})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(d.servers(), " "); got != "127.0.0.1:53" {
		t.Errorf("servers %s", got)
	}
}
