package peer

import (
	"bufio"
	"fmt"
	"net"
	"strings"
)

// SMTP is one connection to a server, spoken line by line, so that a test can say what no library would.
type SMTP struct {
	net.Conn
	R *bufio.Reader
}

// DialSMTP connects and reads the greeting. Network is tcp or unix.
func DialSMTP(network, addr string) (*SMTP, string, error) {
	return dialSMTP(&net.Dialer{Timeout: patience}, network, addr)
}

// DialSMTPFrom is DialSMTP over TCP from a local address.
func DialSMTPFrom(local, addr string) (*SMTP, string, error) {
	d := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	return dialSMTP(d, "tcp", addr)
}

func dialSMTP(d *net.Dialer, network, addr string) (*SMTP, string, error) {
	c, err := d.Dial(network, addr)
	if err != nil {
		return nil, "", err
	}
	return greeted(c)
}

// Reply reads one reply, its lines joined by "\n", without line ends.
func (s *SMTP) Reply() (string, error) {
	var lines []string
	for {
		line, err := s.R.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, line), "\n"), fmt.Errorf("read reply: %w", err)
		}
		line = strings.TrimRight(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// Cmd sends one line and reads its reply.
func (s *SMTP) Cmd(line string) (string, error) {
	if err := s.Send(line + "\r\n"); err != nil {
		return "", err
	}
	return s.Reply()
}

// Send writes bytes as they are.
func (s *SMTP) Send(raw string) error {
	_, err := s.Write([]byte(raw))
	return err
}

// Message runs one transaction and returns the first reply that is no success, or the final one. The content is sent
// with its dots stuffed and must end with CRLF.
func (s *SMTP) Message(from, to, content string) (string, error) {
	for _, line := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">", "DATA"} {
		reply, err := s.Cmd(line)
		if err != nil || reply[0] > '3' {
			return reply, err
		}
	}
	if strings.HasPrefix(content, ".") {
		content = "." + content
	}
	if err := s.Send(strings.ReplaceAll(content, "\r\n.", "\r\n..") + ".\r\n"); err != nil {
		return "", err
	}
	return s.Reply()
}
