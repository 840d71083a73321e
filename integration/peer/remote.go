package peer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// Remote is a mail server elsewhere that takes what it is given, remembers it, and refuses what it is told to.
type Remote struct {
	Addr string

	server *smtp.Server
	ended  chan error
	once   sync.Once
	err    error // of Close

	mu       sync.Mutex
	messages []Received
	refusals map[string]*smtp.SMTPError // by recipient, "MAIL", "DATA"
	sessions int
	open     int
	most     int
	hold     chan struct{} // not nil: DATA waits for it
}

// Received is a message that a Remote has taken.
type Received struct {
	From    string
	To      []string
	Content string
	Mail    smtp.MailOptions
	Rcpt    []smtp.RcptOptions
	At      time.Time
	TLS     bool
}

// StartRemote listens on addr ("127.0.0.1:0": any port). With a configuration it offers STARTTLS, and under it REQUIRETLS.
func StartRemote(addr string, config *tls.Config) (*Remote, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &Remote{Addr: l.Addr().String(), ended: make(chan error, 1), refusals: map[string]*smtp.SMTPError{}}
	r.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sessions++
		r.open++
		r.most = max(r.most, r.open)
		_, encrypted := c.TLSConnectionState()
		return &remoteSession{remote: r, tls: encrypted}, nil
	}))
	r.server.Domain, r.server.EnableSMTPUTF8, r.server.EnableDSN = "remote.test", true, true
	r.server.EnableREQUIRETLS = true // which it announces under TLS
	r.server.MaxLineLength, r.server.TLSConfig, r.server.MaxRecipients = 1<<20, config, 1000
	r.server.ErrorLog = quiet{}
	go func() { r.ended <- r.server.Serve(l) }()
	return r, nil
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// Close ends the server and every session. Once more it does nothing.
func (r *Remote) Close() error {
	r.once.Do(func() {
		r.Release()
		r.err = r.server.Close()
		if e := <-r.ended; e != nil && !errors.Is(e, smtp.ErrServerClosed) {
			r.err = errors.Join(r.err, e)
		}
	})
	return r.err
}

// Refuse answers a recipient, "MAIL", "DATA" or "*" (every recipient) with a reply such as "550 5.1.1 no such user"; an
// empty one is taken back.
func (r *Remote) Refuse(what, reply string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reply == "" {
		delete(r.refusals, what)
		return
	}
	e := &smtp.SMTPError{}
	if _, err := fmt.Sscanf(reply, "%d %d.%d.%d", &e.Code, &e.EnhancedCode[0], &e.EnhancedCode[1], &e.EnhancedCode[2]); err != nil {
		panic(fmt.Sprintf("reply %q: %v", reply, err))
	}
	e.Message = strings.SplitN(reply, " ", 3)[2]
	r.refusals[what] = e
}

// Hold keeps every message waiting after its end until Release.
func (r *Remote) Hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hold == nil {
		r.hold = make(chan struct{})
	}
}

// Release lets go what waits.
func (r *Remote) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hold != nil {
		close(r.hold)
		r.hold = nil
	}
}

// Messages are those that were taken so far.
func (r *Remote) Messages() []Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Received(nil), r.messages...)
}

// Sessions tells how many connections said EHLO, and how many of them were open at most at one time.
func (r *Remote) Sessions() (all, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions, r.most
}

// Await waits until n messages were taken.
func (r *Remote) Await(n int) error {
	return Until(patience, fmt.Sprintf("%d messages at %s", n, r.Addr), func() bool { return len(r.Messages()) >= n })
}

func (r *Remote) refusal(what ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range what {
		if e := r.refusals[w]; e != nil {
			return e
		}
	}
	return nil
}

type remoteSession struct {
	remote *Remote
	tls    bool
	mail   Received
}

func (s *remoteSession) Mail(from string, o *smtp.MailOptions) error {
	s.mail = Received{From: from, TLS: s.tls}
	if o != nil {
		s.mail.Mail = *o
	}
	return s.remote.refusal("MAIL")
}

func (s *remoteSession) Rcpt(to string, o *smtp.RcptOptions) error {
	if err := s.remote.refusal(to, "*"); err != nil {
		return err
	}
	s.mail.To = append(s.mail.To, to)
	if o == nil {
		o = &smtp.RcptOptions{}
	}
	s.mail.Rcpt = append(s.mail.Rcpt, *o)
	return nil
}

func (s *remoteSession) Data(r io.Reader) error {
	var b bytes.Buffer
	if _, err := io.Copy(&b, r); err != nil {
		return err
	}
	s.remote.mu.Lock()
	hold := s.remote.hold
	s.remote.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if err := s.remote.refusal("DATA"); err != nil {
		return err
	}
	s.mail.Content, s.mail.At = b.String(), time.Now()
	s.remote.mu.Lock()
	s.remote.messages = append(s.remote.messages, s.mail)
	s.remote.mu.Unlock()
	return nil
}

func (s *remoteSession) Reset() { s.mail = Received{TLS: s.tls} }

func (s *remoteSession) Logout() error {
	s.remote.mu.Lock()
	defer s.remote.mu.Unlock()
	s.remote.open--
	return nil
}
