package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells systemd how the service is (sd_notify(3)). Without systemd it tells nobody.
type notifier struct{ log *slog.Logger }

// tell says a state. That it cannot be said is no reason to end: systemd does so when it waits in vain.
func (n notifier) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("systemd does not hear us", "state", state, "error", err)
	}
}

// ready: all listeners are open; also after a reload, whatever came of it.
func (n notifier) ready() { n.tell(daemon.SdNotifyReady) }

// reloading: the configuration is read again. ready ends it.
func (n notifier) reloading() {
	n.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// stopping: the relay drains.
func (n notifier) stopping() { n.tell(daemon.SdNotifyStopping) }

// watch tells the watchdog that we are alive, twice in its time, as long as alive has no error. It ends with the function
// that it returns. Without a watchdog it does nothing.
func (n notifier) watch(alive func(context.Context) error) (stop func()) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("the watchdog of systemd is not understood", "error", err)
	}
	if err != nil || limit == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		every := time.NewTicker(limit / 2)
		defer every.Stop()
		for {
			n.pulse(ctx, limit/2, alive)
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
		}
	})
	return func() {
		cancel()
		work.Wait()
	}
}

// pulse asks once, for no longer than patience.
func (n notifier) pulse(ctx context.Context, patience time.Duration, alive func(context.Context) error) {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := alive(asking); err != nil {
		if ctx.Err() == nil {
			n.log.Error("the watchdog is not told that the relay is alive", "error", err)
		}
		return
	}
	n.tell(daemon.SdNotifyWatchdog)
}
