package certs

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Every file that is of no use is told, and which it is.
func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	good := issue(t, nil, "ecdsa", nil, "mx.host.test").pair(t, dir+"/good")
	other := issue(t, nil, "ecdsa", nil, "mx.host.test").pair(t, dir+"/other")
	open := issue(t, nil, "ecdsa", nil, "mx.host.test").pair(t, dir+"/open")
	nameless := issue(t, nil, "ecdsa", nil).pair(t, dir+"/nameless")
	authority := newCA(t).pair(t, dir+"/authority")
	long := Pair{dir + "/long", good.Key}
	write(t, long.Cert, make([]byte, maxFile+1))
	if err := os.Chmod(open.Key, 0o604); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		pair Pair
		key  bool
		want string
	}{
		{Pair{dir + "/none.pem", good.Key}, false, `none.pem": cannot be read: no such file or directory`},
		{Pair{good.Cert, dir + "/none.key"}, true, `none.key": cannot be read: no such file or directory`},
		{Pair{dir, good.Key}, false, `": cannot be read: not a file`},
		{Pair{"/dev/zero", good.Key}, false, `"/dev/zero": cannot be read: not a file`},
		{open, true, `open.key": everybody may read or change it (mode 0604): chmod 600`},
		{long, false, `long": cannot be read: longer than 1MiB`},
		{Pair{good.Cert, other.Key}, false, `good.pem": tls: private key does not match public key`},
		{Pair{good.Key, good.Key}, false, `good.key": tls: `},
		{nameless, false, `nameless.pem": it names no server (subjectAltName)`},
		{authority, false, `authority.pem": it is that of an authority, want that of a server first`},
	} {
		log, _ := newLog(t)
		_, err := New(Options{Files: []Pair{good, tt.pair}, Log: log})
		e, ok := errors.AsType[*FileError](err)
		if !ok || e.Pair != 1 || e.Key != tt.key || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", tt.pair, err)
		}
	}
	log, _ := newLog(t)
	_, err := New(Options{Files: []Pair{{dir + "/a", good.Key}, good, {dir + "/b", good.Key}}, Log: log})
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Error(err)
	}
	if _, err := New(Options{Log: log}); err == nil {
		t.Error("nothing to show, and no error")
	}
}

// What is renewed is shown without a restart; what is broken never takes the place of what works.
func TestRenewed(t *testing.T) {
	base := inDir(t, "a")
	first, second, third := issue(t, nil, "ecdsa", nil, "mx.host.test"), issue(t, nil, "ecdsa", nil, "mx.host.test"),
		issue(t, nil, "rsa", nil, "mx.host.test")
	pair := first.pair(t, base)
	log, said := newLog(t)
	m := newManager(t, Options{Files: []Pair{pair}, Log: log})
	want := first
	for i, step := range []struct {
		do   func()
		want *signer
		says string
	}{
		{func() {}, first, ""},
		{func() { write(t, pair.Cert, second.certPEM()) }, first, "does not match"}, // half of it
		{func() {}, first, ""}, // said once
		{func() { write(t, pair.Key, second.keyPEM(t)) }, second, "read again"},
		{func() { write(t, pair.Cert, []byte("nonsense")) }, second, "cannot be used"},
		{func() { _ = os.Remove(pair.Cert) }, second, "no such file"},
		{func() { _ = os.Remove(pair.Key) }, second, "no such file"},
		{func() { third.pair(t, base) }, third, "read again"},
		{func() { // as certbot does it
			first.pair(t, base+"-1")
			_ = errors.Join(os.Remove(pair.Cert), os.Remove(pair.Key), os.Symlink(filepath.Base(base+"-1.pem"), pair.Cert),
				os.Symlink(filepath.Base(base+"-1.key"), pair.Key))
		}, first, "read again"},
		{func() { // in place, and for others to read
			_ = errors.Join(os.WriteFile(pair.Key, second.keyPEM(t), 0o600), os.Chmod(base+"-1.key", 0o644))
		}, first, "everybody may read"},
	} {
		before := len(said.String())
		step.do()
		m.Look()
		if step.want != nil {
			want = step.want
		}
		if got := shows(t, m, "mx.host.test"); got.Cmp(want.cert.SerialNumber) != 0 {
			t.Errorf("step %d: another certificate", i)
		}
		if news := said.String()[before:]; step.says == "" && news != "" || !strings.Contains(news, step.says) {
			t.Errorf("step %d: the log says %q, want %q", i, news, step.says)
		}
	}
}

// It is looked at by itself, and Close ends that.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := inDir(t, "a")
		pair := issue(t, nil, "ecdsa", nil, "mx.host.test").pair(t, base)
		m := newManager(t, Options{Files: []Pair{pair}})
		m.Start()
		next := issue(t, nil, "ecdsa", nil, "mx.host.test")
		next.pair(t, base)
		<-time.After(lookEvery + time.Millisecond)
		synctest.Wait()
		if !m.shown.Load().all[0].Leaf.Equal(next.cert) {
			t.Error("not noticed")
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A certificate that runs out is told once a day, and shown as long as there is no other.
func TestRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		short := issue(t, nil, "ecdsa", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(Ending + 12*time.Hour) }, "mx.host.test")
		log, said := newLog(t)
		m := newManager(t, Options{Files: []Pair{short.pair(t, inDir(t, "a"))}, Log: log})
		m.Start()
		for day := range 10 {
			lines := strings.Count(said.String(), "nobody has renewed it")
			gone := strings.Count(said.String(), "has run out")
			if want := min(day, 7); lines != want || gone != day-want {
				t.Errorf("day %d: %d warnings, and %d when it was too late", day, lines, gone)
			}
			<-time.After(24*time.Hour + time.Second)
			synctest.Wait()
		}
		if m.shown.Load().all[0] == nil {
			t.Error("none")
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
}
