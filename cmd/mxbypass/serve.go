package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/relay"
	"mxbypass/relay/maillog"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the relay",
		Long: "Run the relay, in the foreground; the log goes to the standard error.\n\n" +
			"SIGHUP reads the configuration and the directory again; when something is wrong with them, the old ones stay.\n" +
			"SIGTERM or SIGINT drain: nobody is let in, transactions in progress, with clients and with other servers,\n" +
			"come to their end within shutdown_timeout. What is in the queue stays there for the next start. A second\n" +
			"signal ends at once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := harden(); err != nil {
				return exit(exitSoftware, err)
			}
			signals := make(chan os.Signal, 4)
			signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
			defer signal.Stop(signals)
			return a.serveFile(cmd.Context(), signals, nil)
		},
	}
}

// service is a relay that runs under a configuration.
type service struct {
	app    *app
	config *configs.Config // the one in use
	keep   shared
	notify notifier
	level  slog.LevelVar
	log    *maillog.Log
	relay  *relay.Relay
}

// serveFile runs the relay under the configuration file; see serve.
func (a *app) serveFile(ctx context.Context, signals <-chan os.Signal, ready func() error) error {
	c, err := a.readConfig()
	if err != nil {
		_, err = checkParts(ctx, c, err, new(shared)) // there may be more
		return exit(exitConfig, err)
	}
	return a.serve(ctx, c, signals, ready)
}

// serve runs the relay under c until a signal ends it. With ready, it is called once the relay serves; an error of it
// ends the relay.
func (a *app) serve(ctx context.Context, c *configs.Config, signals <-chan os.Signal, ready func() error) (err error) {
	s := &service{app: a, config: c}
	s.level.Set(logLevel(c.Log.Level))
	if s.log, err = maillog.New(a.errOut, c.Log.Format, &s.level); err != nil {
		return exit(exitConfig, err)
	}
	defer func() { err = errors.Join(err, s.log.Close()) }()
	s.notify.log = s.log.Logger()
	parts, err := buildParts(ctx, c, &s.keep, s.log.Logger())
	if err != nil {
		return exit(exitConfig, err)
	}
	if err := s.start(ctx, parts); err != nil {
		return errors.Join(err, parts.Close())
	}
	s.notify.ready()
	defer s.notify.watch(s.relay.Alive)()
	if ready != nil {
		err = ready()
	}
	if err == nil {
		err = s.wait(ctx, signals)
	}
	return errors.Join(err, s.drain(signals))
}

func (s *service) start(ctx context.Context, parts relay.Parts) error {
	r, err := relay.New(ctx, relay.Options{
		StateDir: s.config.StateDir,
		Log:      s.log,
		Memory:   int64(s.config.Limits.Memory),
		Version:  readVersions().Version,
	})
	if err != nil {
		return exit(exitUnavailable, err)
	}
	if err := r.Start(ctx, parts); err != nil {
		return exit(exitUnavailable, errors.Join(err, r.Shutdown(ctx)))
	}
	s.relay = r
	s.keep.transport.relay.Store(r)
	return nil
}

// wait reloads on SIGHUP and returns on the signals that end the relay, or when it cannot go on.
func (s *service) wait(ctx context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return nil
			}
			s.reload(ctx)
		case err := <-s.relay.Failed():
			return exit(exitUnavailable, err)
		case <-ctx.Done():
			return nil
		}
	}
}

// reload puts a new configuration in use, or keeps the old one and says why.
func (s *service) reload(ctx context.Context) {
	s.notify.reloading()
	defer s.notify.ready()
	c, err := s.app.readConfig()
	var parts relay.Parts
	if err == nil {
		parts, err = buildParts(ctx, c, &s.keep, s.log.Logger())
	} else {
		_, err = checkParts(ctx, c, err, &s.keep) // there may be more
	}
	if err != nil {
		for _, line := range errorLines(err) {
			s.log.ReloadFailed(errors.New(line))
		}
		return
	}
	if err := s.relay.Reload(ctx, parts); err != nil { // which is in the log
		if err := parts.Close(); err != nil {
			s.log.Logger().Error("closing the parts of a configuration", "error", err)
		}
		return
	}
	for key, changed := range map[string]bool{
		"state_dir":     c.StateDir != s.config.StateDir,
		"limits.memory": c.Limits.Memory != s.config.Limits.Memory,
		"log.format":    c.Log.Format != s.config.Log.Format,
	} {
		if changed {
			s.log.Logger().Warn("this key changes with the next start", "key", key)
		}
	}
	s.level.Set(logLevel(c.Log.Level))
	s.config = c
}

// drain ends the relay, at once with another signal that ends it.
func (s *service) drain(signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownTimeout.Std())
	defer cancel()
	done := make(chan struct{})
	impatient := make(chan struct{})
	go func() {
		defer close(impatient)
		for {
			select {
			case sig := <-signals:
				if sig == syscall.SIGHUP {
					continue
				}
				cancel()
				return
			case <-done:
				return
			}
		}
	}()
	s.notify.stopping()
	s.log.Logger().Info("draining", "at_most", s.config.ShutdownTimeout.String())
	err := s.relay.Shutdown(ctx)
	close(done)
	<-impatient
	if err != nil && ctx.Err() == nil {
		return exit(exitIO, err)
	}
	return nil // what had to be broken off is in the log, and the clients still have it
}

func logLevel(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
