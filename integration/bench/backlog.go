package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mxbypass/integration/peer"
)

const (
	steadyRate = 1000 // messages per second
	backlog    = 20000
	million    = 1000000
	smallSize  = 512 // octets: a million of 10 KiB would not fit on the disk
)

// measureAcceptance offers messages at a steady rate, whatever the answers take, and asks how long these take.
func measureAcceptance(o options, disk *disk, t *table) error {
	var ours, theirs [][]time.Duration
	for range o.runs {
		for _, s := range []struct {
			start starter
			into  *[][]time.Duration
		}{{startRelaying, &ours}, {startPostfixRelaying, &theirs}} {
			got, err := acceptance(s.start, disk, int(5*steadyRate*o.scale)+queueSessions)
			if err != nil {
				return err
			}
			*s.into = append(*s.into, got)
		}
	}
	t.latency("queue, 1,000 msg/s offered, MAIL to final 250, p50", quantiles(ours, 0.5), quantiles(theirs, 0.5))
	t.latency("queue, 1,000 msg/s offered, MAIL to final 250, p99", quantiles(ours, 0.99), quantiles(theirs, 0.99))
	return nil
}

// acceptance runs an open loop: the time of a message counts from when it should have been sent, so that a server that
// stalls is not spared the messages which it keeps from being sent.
func acceptance(start starter, disk *disk, n int) (all []time.Duration, err error) {
	dir, done, err := disk.fresh()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	sink, addr, err := startSink(n)
	if err != nil {
		return nil, err
	}
	defer sink.Kill()
	s, err := start(dir, addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	due := make(chan time.Time, n)
	begin := time.Now().Add(100 * time.Millisecond)
	for i := range n {
		due <- begin.Add(time.Duration(i) * time.Second / steadyRate)
	}
	close(due)
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range queueSessions {
		clients.Go(func() {
			took, e := offer(s.addr(), due)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			err = errors.Join(err, e)
		})
	}
	clients.Wait()
	return all, errors.Join(err, arrival(sink, time.Minute))
}

func offer(addr string, due <-chan time.Time) (took []time.Duration, err error) {
	c, _, err := peer.DialSMTP("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Cmd("EHLO load.test"); err != nil {
		return nil, err
	}
	content := "Subject: load\r\n\r\n" + string(slices.Repeat([]byte(fmt.Sprintf("%078d\r\n", 0)), 128))
	for at := range due {
		time.Sleep(time.Until(at))
		reply, err := c.Message("sender@load.test", "someone@remote.example", content)
		if err != nil || reply[0] != '2' {
			return took, fmt.Errorf("%q %w", reply, err)
		}
		took = append(took, time.Since(at))
	}
	return took, nil
}

// measureBacklog queues mail for a destination that is down, and times how long it takes from its return until all of
// the mail is there.
func measureBacklog(o options, disk *disk, t *table) error {
	n := max(queueSessions, int(backlog*o.scale))
	var ours, theirs []float64
	for range o.runs {
		for _, s := range []struct {
			start starter
			into  *[]float64
		}{{startRelaying, &ours}, {startPostfixWaiting, &theirs}} {
			got, err := drain(s.start, disk, n)
			if err != nil {
				return err
			}
			*s.into = append(*s.into, got.Seconds())
		}
	}
	t.seconds(fmt.Sprintf("queue, %d waiting, from the return of the host to drained", n), ours, theirs)
	return nil
}

func drain(start starter, disk *disk, n int) (took time.Duration, err error) {
	dir, done, err := disk.fresh()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	port, err := peer.FreePort()
	if err != nil {
		return 0, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s, err := start(dir, addr)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := source(s.addr(), n, queueSize, true); err != nil {
		return 0, err
	}
	begin := time.Now()
	sink, err := sinkAt(addr, n)
	if err != nil {
		return 0, err
	}
	defer sink.Kill()
	err = arrival(sink, 5*time.Minute)
	return time.Since(begin), err
}

// measureMillion queues a million messages for a destination that is down, starts the relay on them once more, and asks
// for its memory and for how long that took.
func measureMillion(o options, disk *disk, t *table) (err error) {
	n := max(queueSessions, int(million*o.scale))
	dir, done, err := disk.fresh()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	port, err := peer.FreePort()
	if err != nil {
		return err
	}
	s, err := startRelaying(dir, fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := source(s.addr(), n, smallSize, true); err != nil {
		return errors.Join(err, s.stop())
	}
	rate := float64(n) / time.Since(begin).Seconds()
	filled, err := pss(s.pid())
	if err = errors.Join(err, s.stop()); err != nil {
		return err
	}
	begin = time.Now()
	if s, err = runRelaying(dir, s.addr()); err != nil {
		return err
	}
	started := time.Since(begin)
	defer func() { err = errors.Join(err, s.stop()) }()
	time.Sleep(5 * time.Second) // it tries the destination meanwhile
	again, err := pss(s.pid())
	if err != nil {
		return err
	}
	t.million(n, rate, started, filled, again)
	return nil
}
