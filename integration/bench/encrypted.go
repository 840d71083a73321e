package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"mxbypass/integration/peer"
)

const (
	shaking      = 5 * time.Second // for how long clients shake hands
	shakingHands = 8               // clients at once
)

// shaken is what one run of handshakes gave.
type shaken struct {
	rate float64       // connections per second
	cpu  time.Duration // of the server, for each
}

// secure starts a server with a certificate: ECDSA P-256, as authorities give it today.
type secure func(dir string, i *peer.Issued) (server, error)

func startRelaySecure(dir string, i *peer.Issued) (server, error) {
	return startRelayAt("127.0.0.1", dir, fmt.Sprintf("%s[[certificate]]\ncert = %q\nkey = %q\n", relayAlone, i.CertFile, i.KeyFile))
}

func startPostfixSecure(dir string, i *peer.Issued) (server, error) {
	return startPostfixFor(dir, fmt.Sprintf("smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s, %s\n", i.KeyFile, i.CertFile), "")
}

// secured starts a server with a new certificate, and gives what a client needs to believe it. Nothing is resumed.
func secured(start secure, disk *disk) (s server, config *tls.Config, done func() error, err error) {
	dir, unmount, err := disk.fresh()
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unmount())
		}
	}()
	ca, err := peer.NewCA(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	cert, err := ca.Issue(gateway)
	if err != nil {
		return nil, nil, nil, err
	}
	if s, err = start(dir, cert); err != nil {
		return nil, nil, nil, err
	}
	return s, &tls.Config{ServerName: gateway, RootCAs: ca.Pool}, func() error { return errors.Join(s.stop(), unmount()) }, nil
}

// measureHandshakes has clients connect, shake hands (TLS 1.3, STARTTLS), greet and leave.
func measureHandshakes(o options, disk *disk, t *table) error {
	var ours, theirs []shaken
	for range o.runs {
		for _, s := range []struct {
			start secure
			into  *[]shaken
		}{{startRelaySecure, &ours}, {startPostfixSecure, &theirs}} {
			got, err := shakeHands(s.start, disk, time.Duration(float64(shaking)*o.scale))
			if err != nil {
				return err
			}
			*s.into = append(*s.into, got)
		}
	}
	t.handshakes(ours, theirs)
	return nil
}

func shakeHands(start secure, disk *disk, long time.Duration) (got shaken, err error) {
	s, config, done, err := secured(start, disk)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := shakeOnce(s.addr(), config); err != nil {
		return got, err
	}
	var mu sync.Mutex
	var clients sync.WaitGroup
	n, begin := 0, time.Now()
	for range shakingHands {
		clients.Go(func() {
			for time.Since(begin) < long {
				e := shakeOnce(s.addr(), config)
				mu.Lock()
				n, err = n+1, errors.Join(err, e)
				mu.Unlock()
				if e != nil {
					return
				}
			}
		})
	}
	clients.Wait()
	if err != nil {
		return got, err
	}
	got.rate = float64(n) / time.Since(begin).Seconds()
	cpu, err := wholeCPU(s)
	got.cpu = cpu / time.Duration(n+1)
	return got, err
}

func shakeOnce(addr string, config *tls.Config) error {
	c, err := encrypted(addr, config)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Cmd("QUIT")
	return err
}

// encrypted is a session that has greeted under TLS.
func encrypted(addr string, config *tls.Config) (*peer.SMTP, error) {
	c, _, err := peer.DialSMTP("tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = c.Cmd("EHLO load.test")
	if err == nil {
		_, err = c.StartTLS(config, "load.test")
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// measureIdleTLS is measureIdle with sessions that wait under TLS.
func measureIdleTLS(o options, disk *disk, t *table) (err error) {
	if o.idle == 0 {
		return nil
	}
	s, config, done, err := secured(startRelaySecure, disk)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	before, err := pss(s.pid())
	if err != nil {
		return err
	}
	conns := make([]*peer.SMTP, 0, o.idle)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range o.idle {
		c, err := encrypted(s.addr(), config)
		if err != nil {
			return err
		}
		if err := c.SetDeadline(time.Time{}); err != nil { // they have to last until the last of them is there
			return err
		}
		conns = append(conns, c)
	}
	after, err := pss(s.pid())
	if err != nil {
		return err
	}
	t.idle(o.idle, "idle TLS sessions", float64(after-before)/float64(o.idle), 48)
	return nil
}
