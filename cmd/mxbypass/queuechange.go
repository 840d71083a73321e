package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"mxbypass/relay/queue"
)

// queueChange is a command that changes what it is told to select.
type queueChange struct {
	queueFilter
	all, asJSON bool
	allowed     func() error                  // before anything else
	done        func(recipients int64) string // what to say afterwards
	change      func(ctx context.Context, q waitingMail, f queue.Filter) (int64, error)
}

func (a *app) queueRetry() *cobra.Command {
	return a.changeCommand(&queueChange{
		allowed: anybody,
		done:    func(n int64) string { return count(n, "recipient") + " to be tried now" },
		change: func(ctx context.Context, q waitingMail, f queue.Filter) (int64, error) {
			return q.Retry(ctx, f)
		},
	}, &cobra.Command{
		Use:   "retry [ID…]",
		Short: "Have mail tried now, whatever its time",
		Long: "Have mail tried now, and its destinations, whatever their time. What is held is released first, by release.\n" +
			"Without a running relay it is tried when one starts.",
	})
}

func (a *app) queueHold() *cobra.Command {
	return a.changeCommand(&queueChange{
		allowed: anybody,
		done:    func(n int64) string { return count(n, "recipient") + " held" },
		change: func(ctx context.Context, q waitingMail, f queue.Filter) (int64, error) {
			return q.Hold(ctx, f)
		},
	}, &cobra.Command{
		Use:   "hold [ID…]",
		Short: "Keep mail from being tried, until it is released",
		Long: "Keep mail from being tried or given up until it is released. What is being tried now comes to the end of\n" +
			"that attempt.",
	})
}

func (a *app) queueRelease() *cobra.Command {
	return a.changeCommand(&queueChange{
		allowed: anybody,
		done:    func(n int64) string { return count(n, "recipient") + " released" },
		change: func(ctx context.Context, q waitingMail, f queue.Filter) (int64, error) {
			return q.Release(ctx, f)
		},
	}, &cobra.Command{
		Use:   "release [ID…]",
		Short: "Let mail be tried again that was held, or put aside as damaged",
	})
}

func (a *app) queueRemove() *cobra.Command {
	var yes bool
	cmd := a.changeCommand(&queueChange{
		allowed: func() error {
			if in, ok := a.in.(*os.File); yes || ok && isatty.IsTerminal(in.Fd()) {
				return nil
			}
			return exit(exitUsage, errors.New("it asks before it removes, and there is no terminal to ask on: --yes removes"))
		},
		done: func(n int64) string { return count(n, "recipient") + " removed" },
		change: func(ctx context.Context, q waitingMail, f queue.Filter) (int64, error) {
			if !yes {
				if err := a.confirm(ctx, q, &f); err != nil {
					return 0, err
				}
			}
			return q.Remove(ctx, f)
		},
	}, &cobra.Command{
		Use:   "remove [ID…]",
		Short: "Remove mail for good, without telling its sender",
		Long: "Remove mail for good, without telling its sender. It asks before it does so; --yes answers. What comes into\n" +
			"the queue after it has asked stays.",
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// anybody may do what can be undone.
func anybody() error { return nil }

// changeCommand completes a command whose words are given.
func (a *app) changeCommand(c *queueChange, cmd *cobra.Command) *cobra.Command {
	c.add(cmd)
	cmd.Flags().BoolVar(&c.all, "all", false, "all that is in the queue")
	cmd.Flags().BoolVar(&c.asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		selected, err := c.read(cmd, ids)
		if err != nil {
			return err
		}
		switch named := len(ids) > 0 || len(c.given) > 0; {
		case !named && !c.all:
			return exit(exitUsage, errors.New("which mail? name IDs or filters; --all is for all of it"))
		case named && c.all:
			return exit(exitUsage, errors.New("--all is all of it: leave the IDs and filters out, or --all"))
		}
		if err := c.allowed(); err != nil {
			return err
		}
		return a.withQueue(cmd.Context(), func(q waitingMail) error { return a.changeQueue(cmd.Context(), q, c, selected) })
	}
	return cmd
}

// changedObject is what a change says in JSON.
type changedObject struct {
	Recipients int64 `json:"recipients"`
}

// changeQueue does what can be done, and tells afterwards which IDs there are not.
func (a *app) changeQueue(ctx context.Context, q waitingMail, c *queueChange, f queue.Filter) error {
	unknown := notQueued(ctx, q, f.IDs)
	if unknown != nil && !errors.Is(unknown, queue.ErrNotFound) {
		return unknown
	}
	n, err := c.change(ctx, q, f)
	if err != nil {
		return errors.Join(err, unknown)
	}
	if c.asJSON {
		err = a.printJSON(changedObject{n})
	} else {
		err = a.say("%s", c.done(n))
	}
	return errors.Join(err, unknown)
}

// confirm asks whether what f selects is to be removed, and narrows f down to what was in the queue then.
func (a *app) confirm(ctx context.Context, q waitingMail, f *queue.Filter) error {
	var recipients, messages int64
	counted := time.Now()
	for m, err := range byMessage(q.List(ctx, *f)) {
		if err != nil {
			return err
		}
		messages++
		recipients += int64(len(m.Recipients))
	}
	narrow := func() { f.OlderThan += time.Since(counted) }
	if recipients == 0 {
		narrow()
		return nil
	}
	fmt.Fprintf(a.errOut, "remove %s of %s? [y/N] ", count(recipients, "recipient"), count(messages, "message"))
	answer, err := bufio.NewReader(io.LimitReader(a.in, 1<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return exit(exitIO, err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		narrow()
		return nil
	}
	return exit(exitRefused, errors.New("nothing was removed"))
}
