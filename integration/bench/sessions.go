package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"mxbypass/integration/peer"
)

// measureLatency times MAIL to the final reply on one kept session, alternating between the servers.
func measureLatency(o options, disk *disk, t *table) error {
	var ours, theirs [][]time.Duration
	for range o.runs {
		for _, s := range []struct {
			start func(string) (server, error)
			into  *[][]time.Duration
		}{{startRelay, &ours}, {startPostfix, &theirs}} {
			got, err := latencies(s.start, disk, int(1000*o.scale)+100)
			if err != nil {
				return err
			}
			*s.into = append(*s.into, got)
		}
	}
	t.latency("one kept session, 10 KiB, MAIL to final 250, p50", quantiles(ours, 0.5), quantiles(theirs, 0.5))
	t.latency("one kept session, 10 KiB, MAIL to final 250, p99", quantiles(ours, 0.99), quantiles(theirs, 0.99))
	return nil
}

func quantiles(runs [][]time.Duration, q float64) []float64 {
	var out []float64
	for _, r := range runs {
		slices.Sort(r)
		out = append(out, float64(r[int(float64(len(r)-1)*q)].Microseconds())/1000)
	}
	return out
}

func latencies(start func(string) (server, error), disk *disk, n int) (all []time.Duration, err error) {
	dir, done, err := disk.fresh()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := start(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	c, _, err := peer.DialSMTP("tcp", s.addr())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Cmd("EHLO load.test"); err != nil {
		return nil, err
	}
	content := "Subject: latency\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 128)
	for i := range n {
		begin := time.Now()
		reply, err := c.Message("sender@load.test", boxAddress(0), content)
		if err != nil || reply[0] != '2' {
			return nil, fmt.Errorf("%q %w", reply, err)
		}
		if i >= 100 {
			all = append(all, time.Since(begin))
		}
	}
	return all, nil
}

// measureIdle opens many sessions that have said EHLO and wait, and asks what the process grew by.
func measureIdle(o options, disk *disk, t *table) (err error) {
	dir, done, err := disk.fresh()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := startRelay(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	before, err := pss(s.pid())
	if err != nil {
		return err
	}
	conns := make([]net.Conn, 0, o.idle)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	buf := make([]byte, 4096)
	for range o.idle {
		c, err := net.Dial("tcp", s.addr())
		if err != nil {
			return err
		}
		conns = append(conns, c)
		if _, err := c.Read(buf); err != nil {
			return err
		}
		if _, err := c.Write([]byte("EHLO load.test\r\n")); err != nil {
			return err
		}
		if _, err := c.Read(buf); err != nil {
			return err
		}
	}
	after, err := pss(s.pid())
	if err != nil {
		return err
	}
	t.idle(o.idle, "idle sessions", float64(after-before)/float64(o.idle), 24)
	return nil
}
