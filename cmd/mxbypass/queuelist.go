package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

func (a *app) queueList() *cobra.Command {
	var f queueFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [ID…]",
		Short: "List the mail that waits: for whom, until when, and why",
		Long: "List the mail that waits, oldest first: all of it, some messages by their IDs, or what filters select. A\n" +
			"filter selects recipients: of a message only those are shown. The reason is that of the last failure, of the\n" +
			"recipient or of its destination as a whole, in the words of the other server. What a relay had in hand when\n" +
			"it was killed stays active until one starts.",
		Example: "  mxbypass queue list --sender @exemple.org --state held\n" +
			"  mxbypass queue list --json | jq -r 'select(.size > 10000000).id'",
		RunE: func(cmd *cobra.Command, ids []string) error {
			selected, err := f.read(cmd, ids)
			if err != nil {
				return err
			}
			return a.withQueue(cmd.Context(), func(q waitingMail) error {
				if err := a.listQueue(cmd.Context(), q, selected, asJSON); err != nil {
					return err
				}
				return notQueued(cmd.Context(), q, ids)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object in a line for each message")
	return cmd
}

// queuedMessage is a message in the queue, with those of its recipients that were asked for.
type queuedMessage struct {
	*queue.Header
	Recipients []queue.Listed // at least one
}

// byMessage brings the recipients of each message together. Of one message they follow each other.
func byMessage(items iter.Seq2[queue.Listed, error]) iter.Seq2[queuedMessage, error] {
	return func(yield func(queuedMessage, error) bool) {
		var m queuedMessage
		for l, err := range items {
			if err != nil {
				yield(queuedMessage{}, err)
				return
			}
			if m.Recipients != nil && l.Row != m.Recipients[0].Row {
				if !yield(m, nil) {
					return
				}
				m.Recipients = nil
			}
			m.Header = l.Message
			m.Recipients = append(m.Recipients, l)
		}
		if m.Recipients != nil {
			yield(m, nil)
		}
	}
}

// listQueue writes while it reads: a long queue does not sit in memory.
func (a *app) listQueue(ctx context.Context, q waitingMail, f queue.Filter, asJSON bool) error {
	var messages, recipients, size int64
	now := time.Now()
	err := list(a, asJSON, byMessage(q.List(ctx, f)),
		func(m queuedMessage) string {
			text := listedMessage(m, now)
			if messages == 0 {
				text = listHeader + "\n" + text
			}
			messages, recipients, size = messages+1, recipients+int64(len(m.Recipients)), size+m.Size
			return text
		},
		func(m queuedMessage) any { return newQueuedObject(m) })
	switch {
	case err != nil || asJSON:
		return err
	case messages == 0 && selectsAll(f):
		return a.say("nothing in the queue")
	case messages == 0:
		return a.say("nothing in the queue matches")
	}
	return a.say("\n%s of %s, %s", count(recipients, "recipient"), count(messages, "message"), octets(size))
}

const listHeader = "ID                          Age     Size        Sender\n" +
	"    State        Next attempt             Recipient"

// listedMessage gives the lines of a message in the list.
func listedMessage(m queuedMessage, now time.Time) string {
	age := "-" // the row of the message is lost
	if !m.Created.IsZero() {
		age = span(now.Sub(m.Created))
	}
	lines := []string{fmt.Sprintf("%-26s  %-6s  %-10s  %s", shownID(m.ID), age, octets(m.Size), m.Reverse)}
	for _, r := range m.Recipients {
		lines = append(lines, fmt.Sprintf("    %-11s  %-23s  %s", r.State, whenNext(r, now), r.To))
		if failure := lastFailure(r); failure != nil {
			lines = append(lines, fmt.Sprintf("%17s%s", "", failureWords(failure)))
		}
		if r.InDoubt {
			lines = append(lines, fmt.Sprintf("%17s%s", "", inDoubt))
		}
	}
	for i, line := range lines {
		lines[i] = clip(line, listWidth)
	}
	return strings.Join(lines, "\n")
}

const inDoubt = "it may have been delivered: the relay ended while it was tried"

// shownID is the ID of a message. One that is damaged may have none.
func shownID(id string) string {
	if id == "" {
		return "(damaged)"
	}
	return mailbox.Printable(id)
}
