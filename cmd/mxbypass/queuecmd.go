package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"

	"github.com/spf13/cobra"

	"mxbypass/configs"
	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

func (a *app) queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Look at the mail that waits, and decide about it",
		Long: "Look at the mail that waits to be sent on, and decide about it. All of it works while the relay runs and while\n" +
			"it does not; a running relay sees a change within a second. list, show, cat and stats change nothing.",
		Example: "  mxbypass queue list --domain remote.example --older-than 1h\n" +
			"  mxbypass queue retry --reason greylist\n" +
			"  mxbypass queue remove --sender spammer@exemple.org",
		Args: cobra.ArbitraryArgs,
		RunE: needSubcommand,
	}
	cmd.AddCommand(a.queueList(), a.queueShow(), a.queueCat(), a.queueRetry(), a.queueHold(), a.queueRelease(),
		a.queueRemove(), a.queueStats())
	return cmd
}

// queueFile is the database of the queue.
func queueFile(c *configs.Config) string { return filepath.Join(c.StateDir, "queue", "queue.db") }

// waitingMail is the queue as the commands use it; *queue.Admin is one.
type waitingMail interface {
	List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Listed, error]
	Stats(ctx context.Context) (queue.Stats, error)
	Cat(ctx context.Context, id string, w io.Writer) error
	Retry(ctx context.Context, f queue.Filter) (int64, error)
	Hold(ctx context.Context, f queue.Filter) (int64, error)
	Release(ctx context.Context, f queue.Filter) (int64, error)
	Remove(ctx context.Context, f queue.Filter) (int64, error)
}

// noQueue is a queue that no relay has made yet: nothing waits.
type noQueue struct{}

func (noQueue) List(context.Context, queue.Filter) iter.Seq2[queue.Listed, error] {
	return func(func(queue.Listed, error) bool) {}
}
func (noQueue) Stats(context.Context) (queue.Stats, error)              { return queue.Stats{}, nil }
func (noQueue) Cat(context.Context, string, io.Writer) error            { return queue.ErrNotFound }
func (noQueue) Retry(context.Context, queue.Filter) (int64, error)      { return 0, nil }
func (noQueue) Hold(context.Context, queue.Filter) (int64, error)       { return 0, nil }
func (noQueue) Release(context.Context, queue.Filter) (int64, error)    { return 0, nil }
func (noQueue) Remove(context.Context, queue.Filter) (n int64, e error) { return 0, nil }

// withQueue opens the configured queue for do, and gives every error its exit code. Where there is none yet, that is said
// on the error stream: the configuration may be another one than that of the relay.
func (a *app) withQueue(ctx context.Context, do func(waitingMail) error) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	path := queueFile(c)
	q, err := queue.OpenAdmin(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(a.errOut, "mxbypass: no relay has made a queue at %s yet\n", mailbox.Printable(path))
		return queueExit(do(noQueue{}))
	}
	if err != nil {
		return queueExit(err)
	}
	return queueExit(errors.Join(do(q), q.Close()))
}

// queueExit gives an error of a queue its exit code.
func queueExit(err error) error {
	var known *exitError
	if err == nil || errors.As(err, &known) {
		return err
	}
	for _, c := range []struct {
		is   error
		code int
	}{
		{queue.ErrNotFound, exitRefused},
		{fs.ErrPermission, exitNoPermission},
		{queue.ErrDamaged, exitData},
		{mailbox.ErrNoSpace, exitIO},
		{mailbox.ErrUnavailable, exitTemporary},
	} {
		if errors.Is(err, c.is) {
			return exit(c.code, err)
		}
	}
	return exit(exitUnavailable, err)
}

// notQueued is an error for every ID that the queue does not know, each in a line of its own; nil: it knows them all.
func notQueued(ctx context.Context, q waitingMail, ids []string) error {
	var errs []error
	for _, id := range ids {
		there := false
		for _, err := range q.List(ctx, queue.Filter{IDs: []string{id}}) {
			if err != nil {
				return err
			}
			there = true
			break
		}
		if !there {
			errs = append(errs, fmt.Errorf("%s: %w", id, queue.ErrNotFound))
		}
	}
	return errors.Join(errs...)
}
