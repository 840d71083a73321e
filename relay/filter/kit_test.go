package filter

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mxbypass/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is a content in memory.
type text string

func (c text) Size() int64          { return int64(len(c)) }
func (c text) Buffers() [][]byte    { return [][]byte{[]byte(c)} }
func (c text) NewReader() io.Reader { return bytes.NewReader([]byte(c)) }

func read(t *testing.T, c mailbox.Content) string {
	t.Helper()
	b, err := io.ReadAll(c.NewReader())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != c.Size() {
		t.Errorf("%d octets, size %d", len(b), c.Size())
	}
	return string(b)
}

// packet is one command or answer on the wire.
func packet(code byte, data ...string) string {
	s := strings.Join(data, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)+1))) + string(code) + s
}

// uint32s are numbers as the protocol has them.
func uint32s(numbers ...uint32) string {
	var b []byte
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return string(b)
}

// Flags of the protocol, which its header file calls SMFIP_….
const (
	noBody       = 1 << 4
	skips        = 1 << 10
	noReplies    = 1<<7 | 1<<12 | 1<<13 | 1<<14 | 1<<15 | 1<<16 | 1<<18 | 1<<19
	leadingSpace = 1 << 20
)

// fake is a filter that does as it is told, spoken octet by octet.
type fake struct {
	address  string
	protocol uint32          // what it asks for
	agree    string          // its whole answer to the offer; empty: a good one
	answers  map[byte]string // packets by command, at its first time; else it wants to go on
	hang     map[byte]bool   // commands that it never answers
	closing  map[byte]bool   // commands at which it closes the connection
	hung     chan struct{}   // told of a command that it does not answer
	done     chan struct{}   // closed when it is to end
	wg       sync.WaitGroup
	mu       sync.Mutex
	commands []string          // as they came: the code and the data
	macros   map[string]string // all that came
	accepted int
}

// start runs the fake until the test ends.
func (f *fake) start(t *testing.T) *fake {
	t.Helper()
	f.address, f.macros = filepath.Join(t.TempDir(), "s"), map[string]string{}
	f.done, f.hung = make(chan struct{}), make(chan struct{}, 1)
	l, err := net.Listen("unix", f.address)
	if err != nil {
		t.Fatal(err)
	}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.accepted++
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(f.done)
		f.wg.Wait()
	})
	return f
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	stop := make(chan struct{})
	defer close(stop)
	f.wg.Go(func() {
		select {
		case <-f.done:
			c.Close()
		case <-stop:
		}
	})
	for {
		var head [5]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
		if _, err := io.ReadFull(c, data); err != nil {
			return
		}
		answer, ok := f.answer(head[4], string(data))
		if !ok {
			return
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// answer gives what the fake says to a command; false: it closes the connection.
func (f *fake) answer(code byte, data string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch code {
	case 'D':
		words := strings.Split(strings.TrimSuffix(data[1:], "\x00"), "\x00")
		for i := 0; i+1 < len(words); i += 2 {
			f.macros[words[i]] = words[i+1]
		}
		return "", true
	case 'Q':
		return "", false
	}
	f.commands = append(f.commands, string(code)+data)
	switch {
	case f.closing[code]:
		return "", false
	case f.hang[code]:
		select {
		case f.hung <- struct{}{}:
		default: // one is enough
		}
		return "", true
	case code == 'O' && f.agree != "":
		return f.agree, true
	case code == 'O':
		return packet('O', uint32s(6, 0x1ff, f.protocol)), true
	}
	if a, ok := f.answers[code]; ok {
		delete(f.answers, code)
		return a, true
	}
	if f.protocol&noReplies != 0 && code != 'E' {
		return "", true
	}
	return packet('c'), true
}

// said are the commands of that code, without it.
func (f *fake) said(code byte) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, c := range f.commands {
		if c[0] == code {
			all = append(all, c[1:])
		}
	}
	return all
}

// filter makes a filter that asks the fake. Its time is short enough to be waited for.
func (f *fake) filter(t testing.TB, change func(*Options)) *Filter {
	t.Helper()
	o := Options{Name: "fake", Network: "unix", Address: f.address, MTA: "mxbypass 1", Dir: filepath.Join(t.TempDir(), "d"),
		Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	made, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	})
	return made
}

func quick(o *Options) { o.Timeout, o.Connect = 200*time.Millisecond, 200*time.Millisecond }

var client = Client{Addr: netip.MustParseAddr("192.0.2.7"), Port: 4711, Hello: "client.test", Login: "me@d.test",
	Hostname: "mx.host.test", ID: "01ID", TLSVersion: "TLSv1.3", TLSCipher: "TLS_AES_128_GCM_SHA256"}

func address(s string) mailbox.Address {
	if s == "" {
		return mailbox.Address{}
	}
	a, err := mailbox.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// pass lets a message past the filter: from me@d.test to two recipients. The errors are those of each step.
func pass(t *testing.T, f *Filter, c mailbox.Content) (Result, []error) {
	t.Helper()
	s := f.NewSession(client)
	t.Cleanup(s.Close)
	ctx := context.Background()
	errs := []error{s.Mail(ctx, address("me@d.test"), 0)}
	for _, to := range []string{"a@exemple.org", "b@exemple.org"} {
		errs = append(errs, s.Rcpt(ctx, address(to), to))
	}
	r, err := s.Message(ctx, "01ID", c)
	return r, append(errs, err)
}

const message = "Received: by x\r\n\tfor y\r\nSubject:  two\r\nX-A:1\r\nx-a: 2\r\n\r\nbody\r\n"

// printable is what may stand in a reply.
const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
