package tlsrpt

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"mxbypass/mailbox"
)

const (
	// postTime bounds a report over HTTPS.
	postTime = time.Minute
	// maxAddresses is how many addresses of its server are tried.
	maxAddresses = 4
	mediaType    = "application/tlsrpt+gzip"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// send gives the report to one place.
func (r *Reporter) send(ctx context.Context, d *day, domain string, p place, id string, body []byte) error {
	if p.https != "" {
		return r.post(ctx, p.https, body)
	}
	// It is mail about TLS that fails: it must not fail for the same reason (RFC 8460 section 5.3).
	m := &mailbox.Message{Reverse: r.o.From, Content: memory(r.mail(d, domain, p.mail, id, body))}
	return r.o.Submit(ctx, m, p.mail)
}

// mail writes the message that carries a report (RFC 8460 section 5.3).
func (r *Reporter) mail(d *day, domain string, to mailbox.Address, id string, body []byte) []byte {
	host, boundary := r.o.Hostname.ASCII(), "=_"+rand.Text()
	file := r.name(d, domain)
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: <%s>", r.o.From.Header())
	line("To: <%s>", to.Header())
	line("Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>", domain, host, id)
	line("Date: %s", r.o.Now().Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	line("Message-ID: <%s@%s>", rand.Text(), host)
	line("TLS-Report-Domain: %s", domain)
	line("TLS-Report-Submitter: %s", host)
	line("TLS-Required: No")
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"%s\"\r\n", boundary)
	line("--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n", boundary)
	line("This is a report on TLS connections of %s\r\nto mail servers of %s, on %s (UTC).\r\n", host, domain, d.Day)
	line("Questions: %s", r.o.Contact.Header())
	line("--%s\r\nContent-Type: %s", boundary, mediaType)
	line("Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n filename=\"%s\"\r\n", file)
	for text := base64.StdEncoding.EncodeToString(body); text != ""; {
		n := min(len(text), 76)
		line("%s", text[:n])
		text = text[n:]
	}
	line("--%s--", boundary)
	return b.Bytes()
}

// memory is content in memory.
type memory []byte

// Size implements mailbox.Content.
func (m memory) Size() int64 { return int64(len(m)) }

// Buffers implements mailbox.Content.
func (m memory) Buffers() [][]byte { return [][]byte{m} }

// NewReader implements mailbox.Content.
func (m memory) NewReader() io.Reader { return bytes.NewReader(m) }

// newClient makes the client for reports over HTTPS. Redirections are not followed, no proxy is asked.
func (r *Reporter) newClient() *http.Client {
	dial := func(ctx context.Context, _, at string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(at)
		if err != nil {
			return nil, err
		}
		return r.dial(ctx, host, port)
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.o.Roots},
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       postTime,
	}
}

// dial connects to an address of the host that our own DNS gives. What strangers publish does not lead to ourselves.
func (r *Reporter) dial(ctx context.Context, host, port string) (net.Conn, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	addrs, err := r.o.Addr(ctx, host)
	if err != nil {
		return nil, err
	}
	err = errors.New("the server has no address that can be connected to")
	for _, a := range addrs[:min(len(addrs), maxAddresses)] {
		a = a.Unmap()
		if a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsLoopback() && !r.o.AllowLoopback {
			continue
		}
		var conn net.Conn
		conn, err = (&net.Dialer{Timeout: postTime / 3}).DialContext(ctx, "tcp", netip.AddrPortFrom(a, uint16(n)).String())
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// post gives a report to a server (RFC 8460 section 5.4).
func (r *Reporter) post(ctx context.Context, uri string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", mediaType)
	response, err := r.client.Do(request)
	if err != nil {
		return errors.New(mailbox.Printable(strings.ReplaceAll(err.Error(), "\n", " ")))
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // what it says does not matter
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the server answered %d", response.StatusCode)
	}
	return nil
}
