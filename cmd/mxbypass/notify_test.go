package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manager is the socket at which systemd listens.
func manager(t *testing.T) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 512)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	next := manager(t)
	n := notifier{slog.New(slog.DiscardHandler)}
	n.ready()
	if got := next(); got != "READY=1" {
		t.Error(got)
	}
	n.reloading()
	got := next()
	stamp, ok := strings.CutPrefix(strings.TrimSpace(got), "RELOADING=1\nMONOTONIC_USEC=")
	if _, err := strconv.ParseUint(stamp, 10, 64); !ok || err != nil {
		t.Errorf("%q", got)
	}
	n.stopping()
	if got := next(); got != "STOPPING=1" {
		t.Error(got)
	}
}

// The watchdog hears nothing from a relay that does not answer, and from one that does, again and again.
func TestWatchdog(t *testing.T) {
	next := manager(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", "")
	n := notifier{slog.New(slog.DiscardHandler)}
	asked := make(chan struct{}, 1)
	stop := n.watch(func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("asked without an end")
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		return errors.New("not well")
	})
	for range 3 {
		<-asked
	}
	stop()
	n.stopping()
	if got := next(); got != "STOPPING=1" {
		t.Errorf("told %q of a relay that does not answer", got)
	}
	stop = n.watch(func(context.Context) error { return nil })
	defer stop()
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Error(got)
		}
	}
}

// Without systemd, or with one that is gone, everything goes on.
func TestNotifyNobody(t *testing.T) {
	var heard strings.Builder
	n := notifier{slog.New(slog.NewTextHandler(&heard, nil))}
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	n.ready()
	n.watch(func(context.Context) error { return errors.New("asked") })()
	if heard.Len() > 0 {
		t.Error(heard.String())
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	n.ready()
	t.Setenv("WATCHDOG_USEC", "soon")
	n.watch(func(context.Context) error { return errors.New("asked") })()
	if got := strings.Count(heard.String(), "\n"); got != 2 || strings.Contains(heard.String(), "asked") {
		t.Errorf("%d lines: %s", got, heard.String())
	}
}
