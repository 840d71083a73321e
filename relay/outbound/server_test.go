package outbound

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// certificate is one for mx.d.test, and those who trust it.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.d.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), DNSNames: []string{"mx.d.test"}, IsCA: true,
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

// issued is a certificate of the authority which is that of mx.d.test as well, for a name; "… expired" is one that is over.
func issued(who string) tls.Certificate {
	issuedOnce.Lock()
	defer issuedOnce.Unlock()
	if c, ok := issuedKept[who]; ok {
		return c
	}
	host, _, expired := strings.Cut(who, " ")
	authority, _ := certificate()
	parent, err := x509.ParseCertificate(authority.Certificate[0])
	if err != nil {
		panic(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		DNSNames: []string{host}}
	if expired {
		template.NotAfter = time.Unix(1, 0)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, authority.PrivateKey)
	if err != nil {
		panic(err)
	}
	issuedKept[who] = tls.Certificate{Certificate: [][]byte{der, authority.Certificate[0]}, PrivateKey: key}
	return issuedKept[who]
}

var (
	issuedOnce sync.Mutex
	issuedKept = map[string]tls.Certificate{}
)

// What a server does instead of an answer.
const (
	drop      = "drop"      // it hangs up
	hang      = "hang"      // it says nothing until the client hangs up
	handshake = "handshake" // 220, and then TLS
	broken    = "broken"    // 220, and then something that is no TLS
)

// script is what a server answers: to a verb, or to the beginning of a line; "connect" is the greeting and "." the end of
// data; "certificate" is for whom its certificate is, as issued has it. An answer can be one of those above, and "…|drop" hangs up behind it. What is not there is answered as usual.
type script map[string]string

// server answers on one address of the loopback interface.
type server struct {
	addr string

	mu       sync.Mutex
	sessions int
	lines    [][]string // what was said to it, by connection
	messages []string
	closed   bool
	scripts  func(n int) script // n counts connections from 1
}

func (s *server) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(slices.Concat(s.lines...), "\n")
}

func (s *server) count() (sessions, messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions, len(s.messages)
}

// usual is what a server says when its script says nothing else.
var usual = script{"connect": "220 hi", "EHLO": "250-mx.d.test\r\n250-PIPELINING\r\n250 8BITMIME", "DATA": "354 go", ".": "250 2.0.0 taken",
	"QUIT": "221 bye|drop"}

// session is the nth connection.
func (s *server) session(conn net.Conn, n int, sc script) {
	r := bufio.NewReader(conn)
	encrypted := false
	answer := func(line string) bool {
		reply := sc.find(line)
		if encrypted && line[:4] == "EHLO" && sc["EHLO/TLS"] == "" {
			reply = strings.Replace(reply, "STARTTLS", "HELP", 1)
		} else if encrypted && sc[line[:4]+"/TLS"] != "" {
			reply = sc[line[:4]+"/TLS"]
		}
		switch reply {
		case drop:
			return false
		case hang:
			_, _ = io.Copy(io.Discard, r)
			return false
		case broken:
			_, _ = io.WriteString(conn, "220 go\r\nthis is no TLS")
			_, _ = io.Copy(io.Discard, r)
			return false
		case handshake:
			_, _ = io.WriteString(conn, "220 go\r\n")
			cert, _ := certificate()
			if who := sc["certificate"]; who != "" {
				cert = issued(who)
			}
			secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			if secure.Handshake() != nil {
				return false
			}
			conn, encrypted = secure, true
			r.Reset(conn)
			return true
		}
		text, then, _ := strings.Cut(reply, "|")
		_, err := io.WriteString(conn, text+"\r\n")
		return err == nil && then != drop
	}
	for ok := answer("connect"); ok; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.mu.Lock()
		s.lines[n-1] = append(s.lines[n-1], line)
		s.mu.Unlock()
		if ok = answer(line); ok && line == "DATA" && strings.HasPrefix(sc.find(line), "354") {
			if sc["body"] != "" { // it breaks the message off
				_, _ = r.Peek(1)
				if sc["body"] != drop {
					answer("body")
				}
				return
			}
			var b strings.Builder
			for line := ""; line != ".\r\n"; {
				b.WriteString(strings.TrimPrefix(line, "."))
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			s.mu.Lock()
			s.messages = append(s.messages, b.String())
			s.mu.Unlock()
			ok = answer(".   ")
		}
	}
}

// find gives the answer to a line: of the longest beginning that is known.
func (sc script) find(line string) string {
	best := "250 OK"
	for _, known := range []script{usual, sc} {
		length := -1
		for begin, reply := range known {
			if strings.HasPrefix(line, begin) && len(begin) > length {
				best, length = reply, len(begin)
			}
		}
	}
	return best
}
