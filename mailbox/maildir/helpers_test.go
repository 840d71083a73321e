package maildir

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inMemory and inFile are the two kinds of content.
type inMemory []byte

func (c inMemory) Size() int64          { return int64(len(c)) }
func (c inMemory) Buffers() [][]byte    { return [][]byte{c[:len(c)/2], nil, c[len(c)/2:]} }
func (c inMemory) NewReader() io.Reader { return bytes.NewReader(c) }

type inFile struct{ inMemory }

func (inFile) Buffers() [][]byte { return nil }

func body(n int) inMemory {
	return inMemory(bytes.Repeat([]byte("Subject: bypass\r\n"), n/17+1)[:n])
}

func message(c mailbox.Content) *mailbox.Message {
	return &mailbox.Message{
		ID: "01J", Reverse: mustAddress("sender@other.example"), Trace: []byte("Received: from test\r\n"), Content: c,
	}
}

func mustAddress(s string) mailbox.Address {
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// recipient of user@domain or user+tag@domain.
func recipient(s string) mailbox.Recipient {
	a := mustAddress(s)
	r := mailbox.Recipient{Original: s, Delivered: a}
	user, tag, _ := strings.Cut(string(a.Local), "+")
	a.Local, r.Tag = mailbox.LocalPart(user), mailbox.LocalPart(tag)
	r.Mailbox = mailbox.Mailbox{Address: a, Site: "cloud"}
	return r
}

func options(t testing.TB) Options {
	return Options{Path: filepath.Join(t.TempDir(), "{domain}/{user}/Maildir"), Hostname: "mx.host.test"}
}

func open(t testing.TB, o Options, sys system) *Store {
	t.Helper()
	s, err := newStore(o, sys, maxOpenFolders)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// deliver prepares and commits, and gives the result per recipient.
func deliver(t testing.TB, s *Store, m *mailbox.Message, to ...mailbox.Recipient) []error {
	t.Helper()
	d, errs := s.Prepare(t.Context(), m, to)
	if d == nil {
		return errs
	}
	return d.Commit(t.Context())
}

// files gives the contents of the regular files below root, by path.
func files(t testing.TB, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		all[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// in gives the contents of the files in one folder below root.
func in(t testing.TB, root, folder string) []string {
	t.Helper()
	var found []string
	for path, data := range files(t, root) {
		if filepath.Dir(path) == folder {
			found = append(found, data)
		}
	}
	return found
}

func root(o Options) string { return o.Path[:strings.Index(o.Path, "/{")] }

func users(n int) []mailbox.Recipient {
	all := make([]mailbox.Recipient, n)
	for i := range all {
		all[i] = recipient(fmt.Sprintf("user%d@exemple.org", i))
	}
	return all
}
