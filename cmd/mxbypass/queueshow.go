package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

func (a *app) queueShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID…",
		Short: "Show all that is known of messages in the queue",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			selected, err := (&queueFilter{}).read(cmd, ids)
			if err != nil {
				return err
			}
			return a.withQueue(cmd.Context(), func(q waitingMail) error {
				now := time.Now()
				err := list(a, asJSON, byMessage(q.List(cmd.Context(), selected)),
					func(m queuedMessage) string { return shownMessage(m, now) },
					func(m queuedMessage) any { return newQueuedObject(m) })
				if err != nil {
					return err
				}
				return notQueued(cmd.Context(), q, ids)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object in a line for each message")
	return cmd
}

func (a *app) queueCat() *cobra.Command {
	return &cobra.Command{
		Use:   "cat ID",
		Short: "Print a message of the queue, octet by octet as it will be sent",
		Long: "Print a message of the queue, octet by octet as it will be sent. A field on top of the copy of one recipient,\n" +
			"by which a loop is told, is in show.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withQueue(cmd.Context(), func(q waitingMail) error {
				if err := notQueued(cmd.Context(), q, args); err != nil {
					return err
				}
				w := bufio.NewWriterSize(a.out, 64<<10)
				err := q.Cat(cmd.Context(), args[0], w)
				if broken := w.Flush(); broken != nil {
					return exit(exitIO, broken)
				}
				return err
			})
		},
	}
}

// fields are lines of a name and a value; those without a value are left out.
type fields struct {
	strings.Builder
	indent string
}

func (f *fields) add(name, value string) {
	if value != "" {
		fmt.Fprintf(f, "%s%-12s %s\n", f.indent, name, value)
	}
}

// shownMessage gives all that is known of a message, for people. Nothing is cut off.
func shownMessage(m queuedMessage, now time.Time) string {
	f := &fields{indent: "  "}
	f.WriteString(shownID(m.ID) + "\n")
	f.add("sender", m.Reverse.String())
	f.add("queued", fmt.Sprintf("%s, %s ago", localTime(m.Created), span(now.Sub(m.Created))))
	f.add("size", fmt.Sprintf("%d octets", m.Size))
	var needs []string
	if m.EightBit {
		needs = append(needs, "8BITMIME")
	}
	if m.UTF8 || m.UTF8Header {
		needs = append(needs, "SMTPUTF8")
	}
	if m.RequireTLS {
		needs = append(needs, "REQUIRETLS")
	}
	f.add("needs", strings.Join(needs, ", "))
	f.add("ENVID", mailbox.Printable(m.EnvelopeID))
	f.add("RET", mailbox.Printable(string(m.Return)))
	for _, r := range m.Recipients {
		f.recipient(m, r, now)
	}
	return f.String()
}

func (f *fields) recipient(m queuedMessage, r queue.Listed, now time.Time) {
	f.indent = "  "
	f.add("recipient", r.To.String())
	f.indent = "    "
	state := string(r.State)
	if next := nextAttempt(r); !next.IsZero() {
		state += ", next attempt " + whenNext(r, now)
		if next.After(now) {
			state += ", in " + span(next.Sub(now))
		}
	}
	f.add("state", state)
	if r.InDoubt {
		f.add("in doubt", inDoubt)
	}
	f.add("destination", oneLine(r.Recipient.Destination))
	f.add("purpose", oneLine(r.Purpose))
	if r.Reverse != m.Reverse {
		f.add("sender", r.Reverse.String())
	}
	if !r.Mailbox.IsNull() {
		f.add("mailbox", r.Mailbox.String())
	}
	if r.Original != r.To.Wire() {
		f.add("written", mailbox.Printable(r.Original))
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(r.Mark, "\r\n"), "\r\n") {
		f.add("on top", mailbox.Printable(line))
	}
	f.add("NOTIFY", notifyText(r.Report.Notify))
	f.add("ORCPT", mailbox.Printable(r.Report.Original))
	f.add("attempts", fmt.Sprint(r.Attempts))
	if !r.Notice.IsZero() {
		f.add("notice", localTime(r.Notice)+", then the sender is told that it takes long")
	}
	f.add("expires", localTime(r.Expires))
	if own := r.Last; own != nil {
		f.add("failure", localTime(own.Time)+", "+failureWords(own))
		f.add("tls", oneLine(own.TLS))
	}
	if common := r.Destination.Last; common != nil {
		f.add("down", fmt.Sprintf("%s of the whole destination in a row, the last one %s, %s",
			count(int64(r.Destination.Failures), "failure"), localTime(common.Time), failureWords(common)))
		f.add("tls", oneLine(common.TLS))
	}
}
