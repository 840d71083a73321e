package peer

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"
)

// DialSMTPS connects with TLS from the first octet, and reads the greeting.
func DialSMTPS(addr string, config *tls.Config) (*SMTP, string, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, config)
	if err != nil {
		return nil, "", err
	}
	return greeted(c)
}

// DialProxied connects as a proxy that says, in a PROXY header of version 1, that the client is at an address.
func DialProxied(addr, client string) (*SMTP, string, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, "", err
	}
	family, ours := "TCP4", "192.0.2.25"
	if strings.Contains(client, ":") {
		family, ours = "TCP6", "2001:db8::25"
	}
	if _, err := fmt.Fprintf(c, "PROXY %s %s %s 40000 25\r\n", family, client, ours); err != nil {
		c.Close()
		return nil, "", err
	}
	return greeted(c)
}

func greeted(c net.Conn) (*SMTP, string, error) {
	s := &SMTP{c, bufio.NewReader(c)}
	if err := s.SetDeadline(time.Now().Add(4 * patience)); err != nil {
		c.Close()
		return nil, "", err
	}
	greeting, err := s.Reply()
	if err != nil {
		c.Close()
		return nil, "", err
	}
	return s, greeting, nil
}

// StartTLS says STARTTLS, shakes hands, and greets again under TLS; the answer is that to the second EHLO.
func (s *SMTP) StartTLS(config *tls.Config, hello string) (string, error) {
	if reply, err := s.Cmd("STARTTLS"); err != nil || !strings.HasPrefix(reply, "220") {
		return reply, fmt.Errorf("STARTTLS: %q %w", reply, err)
	}
	c := tls.Client(s.Conn, config)
	if err := c.Handshake(); err != nil {
		return "", err
	}
	s.Conn, s.R = c, bufio.NewReader(c)
	return s.Cmd("EHLO " + hello)
}

// Login says AUTH PLAIN.
func (s *SMTP) Login(name, password string) (string, error) {
	return s.Cmd("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00"+password)))
}
