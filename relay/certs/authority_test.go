package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// testAuthority is an ACME server that checks what it is shown, and no signature; integration/trust has a real one.
type testAuthority struct {
	*httptest.Server
	t  testing.TB
	ca *signer

	mu       sync.Mutex
	life     time.Duration          // of what it gives
	way      string                 // how names are checked
	door     string                 // where
	look     func(name string) bool // that way, in DNS
	refuse   bool                   // gives nothing
	forget   bool                   // knows no account that is not new
	accounts int
	contacts []string // of what was said of accounts
	orders   []testOrder

	ordered chan struct{} // one for the first order
}

type testOrder struct {
	name    string
	checked bool
	invalid bool
	chain   []byte
}

func newTestAuthority(t testing.TB) *testAuthority {
	a := &testAuthority{t: t, ca: newCA(t), life: 90 * 24 * time.Hour, ordered: make(chan struct{}, 1)}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

func (a *testAuthority) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *testAuthority) given() (accounts, orders int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.accounts, len(a.orders)
}

func (a *testAuthority) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Certificate())
	return p
}

func (a *testAuthority) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", fmt.Sprint(time.Now().UnixNano()))
	where, which, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var n int
	_, _ = fmt.Sscan(which, &n)
	var head struct{ Kid string }
	payload := body(r, &head)
	switch {
	case where == "dir":
		a.say(w, 200, map[string]string{
			"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/order",
		})
	case where == "nonce":
	case where == "account":
		a.accounts++
		a.contacts = append(a.contacts, string(payload))
		w.Header().Set("Location", fmt.Sprintf("%s/acct/%d", a.URL, a.accounts))
		a.say(w, 201, map[string]any{"status": "valid"})
	case where == "acct":
		a.contacts = append(a.contacts, string(payload))
		a.say(w, 200, map[string]any{"status": "valid"})
	case a.forget && head.Kid != fmt.Sprintf("%s/acct/%d", a.URL, a.accounts):
		a.problem(w, 400, "accountDoesNotExist")
	case a.refuse:
		a.problem(w, 429, "rateLimited")
	case where == "order" && which == "":
		var o struct{ Identifiers []struct{ Value string } }
		_ = json.Unmarshal(payload, &o)
		a.orders = append(a.orders, testOrder{name: o.Identifiers[0].Value})
		n = len(a.orders) - 1
		select {
		case a.ordered <- struct{}{}:
		default:
		}
		w.Header().Set("Location", fmt.Sprintf("%s/order/%d", a.URL, n))
		a.say(w, 201, a.order(n))
	case n >= len(a.orders):
		a.problem(w, 404, "malformed")
	case where == "order":
		a.say(w, 200, a.order(n))
	case where == "authz":
		a.say(w, 200, a.authorization(n))
	case where == "chal":
		a.check(n)
		a.say(w, 200, a.challenge(n))
	case where == "finalize":
		a.sign(n, payload)
		a.say(w, 200, a.order(n))
	case where == "cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(a.orders[n].chain)
	default:
		a.problem(w, 404, "malformed")
	}
}

func body(r *http.Request, head any) []byte {
	var jws struct{ Protected, Payload string }
	text, _ := io.ReadAll(r.Body)
	if json.Unmarshal(text, &jws) != nil {
		return nil
	}
	protected, _ := base64.RawURLEncoding.DecodeString(jws.Protected)
	_ = json.Unmarshal(protected, head)
	payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
	return payload
}

func (a *testAuthority) say(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func (a *testAuthority) problem(w http.ResponseWriter, code int, kind string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": "no\r\nthanks"})
}

func (a *testAuthority) order(n int) map[string]any {
	o := a.orders[n]
	status := "pending"
	switch {
	case o.invalid:
		status = "invalid"
	case o.chain != nil:
		status = "valid"
	case o.checked:
		status = "ready"
	}
	return map[string]any{
		"status": status, "identifiers": []any{map[string]string{"type": "dns", "value": o.name}},
		"authorizations": []string{fmt.Sprintf("%s/authz/%d", a.URL, n)}, "finalize": fmt.Sprintf("%s/finalize/%d", a.URL, n),
		"certificate": fmt.Sprintf("%s/cert/%d", a.URL, n),
	}
}

func (a *testAuthority) status(n int) string {
	switch o := a.orders[n]; {
	case o.invalid:
		return "invalid"
	case o.checked:
		return "valid"
	}
	return "pending"
}

func (a *testAuthority) authorization(n int) map[string]any {
	name, all := strings.CutPrefix(a.orders[n].name, "*.")
	return map[string]any{
		"status": a.status(n), "identifier": map[string]string{"type": "dns", "value": name}, "wildcard": all,
		"challenges": []any{a.challenge(n)},
	}
}

func (a *testAuthority) challenge(n int) map[string]any {
	c := map[string]any{
		"type": a.way, "status": a.status(n), "url": fmt.Sprintf("%s/chal/%d", a.URL, n), "token": fmt.Sprint("token", n),
	}
	if a.orders[n].invalid {
		c["error"] = map[string]any{"type": "urn:ietf:params:acme:error:unauthorized", "detail": "not yours"}
	}
	return c
}

// check looks for the proof, and for nothing else being there to see.
func (a *testAuthority) check(n int) {
	o := &a.orders[n]
	token := fmt.Sprint("token", n)
	ok := false
	switch a.way {
	case "http-01":
		ok = strings.HasPrefix(get(a.t, a.door, o.name, http.MethodGet, "/.well-known/acme-challenge/"+token), token+".") &&
			get(a.t, a.door, o.name, http.MethodPost, "/.well-known/acme-challenge/"+token) == "404" &&
			get(a.t, a.door, o.name, http.MethodGet, "/.well-known/acme-challenge/") == "404" &&
			get(a.t, a.door, o.name, http.MethodGet, "/") == "404"
	case "tls-alpn-01":
		ok = proven(a.door, o.name, "acme-tls/1") && !proven(a.door, o.name, "") && !proven(a.door, "else.test", "acme-tls/1") &&
			!proven(a.door, o.name, "acme-tls/1", "h2")
	case "dns-01":
		ok = a.look(strings.TrimPrefix(o.name, "*."))
	}
	o.checked, o.invalid = ok, !ok
}

// get gives what is there, or the code of another answer than 200.
func get(t testing.TB, door, host, method, path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+door+path, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	r.Host, r.Close = host, true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Sprint(res.StatusCode)
	}
	text, _ := io.ReadAll(res.Body)
	return string(text)
}

// proven tells whether a handshake has the extension of RFC 8737.
func proven(door, name string, protocols ...string) bool {
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 10 * time.Second},
		Config:    &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true},
	}
	c, err := d.Dial("tcp", door)
	if err != nil {
		return false
	}
	defer c.Close()
	for _, e := range c.(*tls.Conn).ConnectionState().PeerCertificates[0].Extensions {
		if e.Id.String() == "1.3.6.1.5.5.7.1.31" && e.Critical {
			return true
		}
	}
	return false
}

func (a *testAuthority) sign(n int, payload []byte) {
	var f struct{ CSR string }
	_ = json.Unmarshal(payload, &f)
	der, _ := base64.RawURLEncoding.DecodeString(f.CSR)
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		a.t.Error(err)
		return
	}
	template := issue(a.t, a.ca, "ecdsa", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(a.life) }, csr.DNSNames...).cert
	cert, err := x509.CreateCertificate(nil, template, a.ca.cert, csr.PublicKey, a.ca.key)
	if err != nil {
		a.t.Error(err)
		return
	}
	a.orders[n].chain = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), a.ca.certPEM()...)
}
