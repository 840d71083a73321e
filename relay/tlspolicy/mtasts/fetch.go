package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"mxbypass/mailbox"
)

const (
	// fetchTime bounds a fetch: mail waits for the first one.
	fetchTime = 20 * time.Second
	// maxAddresses is how many addresses of the server are tried.
	maxAddresses = 4
	defaultPort  = 443
)

// fetcher gets policies over HTTPS.
type fetcher struct {
	client *http.Client
	port   uint16
}

// newFetcher makes one. Every fetch has a connection of its own, no redirection is followed and no proxy asked, and the
// certificate is one of the roots for the name "mta-sts." and the domain (RFC 8461 section 3.3).
func newFetcher(o Options) *fetcher {
	f := &fetcher{port: o.Port}
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return f.dial(ctx, o, host)
	}
	f.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots, Time: o.Now},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxPolicy,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       fetchTime,
	}
	return f
}

// dial connects to one of the addresses of the host, as our own DNS has them.
func (f *fetcher) dial(ctx context.Context, o Options, host string) (net.Conn, error) {
	addrs, err := o.Addr(ctx, host)
	if err != nil {
		return nil, err
	}
	err = errors.New("the server of the policy has no address")
	for i, a := range addrs {
		if i == maxAddresses {
			break
		}
		if a = a.Unmap(); !reachable(a, o.AllowLoopback) {
			err = fmt.Errorf("%s is no address of a server of policies", a)
			continue
		}
		var conn net.Conn
		conn, err = (&net.Dialer{Timeout: fetchTime / 3}).DialContext(ctx, "tcp", netip.AddrPortFrom(a, f.port).String())
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// reachable keeps strangers' DNS from having us connect to ourselves.
func reachable(a netip.Addr, loopback bool) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && (loopback || !a.IsLoopback())
}

// fetch gets the text of the policy of a domain.
func (f *fetcher) fetch(ctx context.Context, domain string) (string, error) {
	host := "mta-sts." + domain
	if f.port != defaultPort {
		host = net.JoinHostPort(host, strconv.Itoa(int(f.port)))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/mta-sts.txt", http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept", "text/plain")
	response, err := f.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	kind := response.Header.Get("Content-Type")
	switch {
	case response.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the server of the policy answered %d", response.StatusCode)
	case !isPlain(kind):
		return "", fmt.Errorf("the policy is not text/plain but %q", mailbox.Printable(kind[:min(len(kind), 100)]))
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPolicy+1))
	if err != nil {
		return "", err
	}
	return string(text), nil
}
