package sign

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mxbypass/mailbox"
	"mxbypass/relay/msgauth/signature"
)

// memory is a content.
type memory []byte

func (m memory) Size() int64          { return int64(len(m)) }
func (m memory) Buffers() [][]byte    { return [][]byte{m} }
func (m memory) NewReader() io.Reader { return bytes.NewReader(m) }

// kit is a folder for keys under a clock that stands still.
type kit struct {
	*Keys
	t   testing.TB
	now time.Time
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newKit(t testing.TB) *kit {
	k := &kit{t: t, now: time.Now(), log: &lockedBuffer{}}
	k.Keys = OpenKeys(filepath.Join(t.TempDir(), "dkim"), slog.New(slog.NewTextHandler(k.log, nil)))
	k.Keys.now = func() time.Time { return k.now }
	return k
}

func domain(s string) mailbox.DomainName { return mailbox.MustDomainName(s) }

// create makes a key whose file is of some age.
func (k *kit) create(name, selector, algorithm string, age time.Duration) Key {
	k.t.Helper()
	key, err := k.Create(domain(name), selector, algorithm, true)
	if err != nil {
		k.t.Fatal(err)
	}
	k.must(os.Chtimes(key.File, time.Time{}, k.now.Add(-age)))
	return key
}

func (k *kit) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

// signers are the selectors that sign for a domain now.
func (k *kit) signers(name string) string {
	k.t.Helper()
	keys, err := k.signing(domain(name))
	if err != nil {
		return err.Error()
	}
	var selectors []string
	for _, key := range keys {
		selectors = append(selectors, key.Selector)
	}
	return strings.Join(selectors, " ")
}

// lookup is a DNS with all keys of the folder.
func (k *kit) lookup(_ context.Context, name string) ([]string, error) {
	_, zone, _ := strings.Cut(name, "._domainkey.")
	keys, err := k.Of(domain(zone))
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key.Name() == name {
			return []string{key.Record()}, nil
		}
	}
	return nil, &net.DNSError{Name: name, IsNotFound: true}
}

func (k *kit) signer(o Options) *Signer {
	o.Keys, o.MaxHeader = k.Keys, 1<<20
	if o.Hostname.IsZero() {
		o.Hostname = domain("mx.host.test")
	}
	return New(o)
}

const ed = signature.Ed25519
