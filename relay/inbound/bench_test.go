package inbound

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// plainBackend is go-smtp as it is, discarding what comes: what the gate is measured against.
type plainBackend struct{}

func (plainBackend) NewSession(*smtp.Conn) (smtp.Session, error) { return plainBackend{}, nil }
func (plainBackend) Reset()                                      {}
func (plainBackend) Logout() error                               { return nil }
func (plainBackend) Mail(string, *smtp.MailOptions) error        { return nil }
func (plainBackend) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (plainBackend) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// body is a message of about n octets.
func body(n int) []byte {
	line := strings.Repeat("0123456789", 7) + "\r\n"
	head := "From: a@client.test\r\nTo: b@exemple.org\r\nSubject: load\r\n\r\n"
	return []byte(head + strings.Repeat(line, n/len(line)) + ".\r\n")
}

// load sends b.N messages over 50 kept connections, each command after the answer to the one before.
func load(b *testing.B, addr string, content []byte) {
	const connections = 50
	var wg sync.WaitGroup
	work := make(chan struct{}, connections)
	for range connections {
		wg.Go(func() {
			if err := sendMany(addr, content, work); err != nil {
				b.Error(err)
				for range work { // let the others end
				}
			}
		})
	}
	b.SetBytes(int64(len(content)))
	b.ResetTimer()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
}

func sendMany(addr string, content []byte, work <-chan struct{}) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	say := func(line []byte, want string) error {
		if _, err := c.Write(line); err != nil {
			return err
		}
		for {
			got, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if got[3] == ' ' {
				if !bytes.HasPrefix(got, []byte(want)) {
					return fmt.Errorf("%q answered with %q", line[:min(len(line), 60)], got)
				}
				return nil
			}
		}
	}
	if err := say(nil, "220"); err != nil {
		return err
	}
	if err := say([]byte("EHLO client.test\r\n"), "250"); err != nil {
		return err
	}
	for range work {
		for _, step := range []struct {
			line []byte
			want string
		}{
			{[]byte("MAIL FROM:<a@client.test>\r\n"), "250"},
			{[]byte("RCPT TO:<foobar%exemple.org@mx.host.test>\r\n"), "250"},
			{[]byte("DATA\r\n"), "354"},
			{content, "250"},
		} {
			if err := say(step.line, step.want); err != nil {
				return err
			}
		}
	}
	return nil
}

func BenchmarkMessages(b *testing.B) {
	for _, size := range []int{1 << 10, 10 << 10, 1 << 20} {
		name := fmt.Sprintf("%dKiB", size>>10)
		b.Run("gate/"+name, func(b *testing.B) {
			r := start(b, SMTP, func(o *Options) { o.Limits.ConnectionsPerClient = 100 })
			r.core.discard = true
			load(b, r.listener.Addr().String(), body(size))
		})
		b.Run("plain-go-smtp/"+name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			s := smtp.NewServer(plainBackend{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = s.Serve(l)
			}()
			load(b, l.Addr().String(), body(size))
			b.StopTimer()
			_ = s.Close()
			<-done
		})
	}
}
