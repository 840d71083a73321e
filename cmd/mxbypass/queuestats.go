package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mxbypass/relay/queue"
)

func (a *app) queueStats() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count what is in the queue, and where most of it goes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withQueue(cmd.Context(), func(q waitingMail) error {
				s, err := q.Stats(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(newStatsObject(s))
				}
				return a.printText(statsText(s, time.Now()))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// queueStates are the states in the order in which they are counted for people.
var queueStates = []queue.State{queue.Waiting, queue.Active, queue.Held, queue.Quarantined}

// statsObject is the figures of the queue in JSON.
type statsObject struct {
	Messages     int64                 `json:"messages"`
	Recipients   map[queue.State]int64 `json:"recipients"`
	Octets       int64                 `json:"octets"`
	Oldest       time.Time             `json:"oldest,omitzero"`
	Destinations []destinationObject   `json:"destinations"` // those with most mail, at most 20
}

type destinationObject struct {
	Destination string    `json:"destination"`
	Recipients  int64     `json:"recipients"`
	Oldest      time.Time `json:"oldest,omitzero"`
	Failures    int       `json:"failures"`      // in a row, of the whole destination
	Next        time.Time `json:"next,omitzero"` // after failures
	Reason      string    `json:"reason,omitempty"`
}

func newStatsObject(s queue.Stats) statsObject {
	o := statsObject{
		Messages: s.Messages, Recipients: map[queue.State]int64{}, Octets: s.Octets, Oldest: utc(s.Oldest),
		Destinations: []destinationObject{},
	}
	for _, state := range queueStates {
		o.Recipients[state] = s.Recipients[state]
	}
	for _, d := range s.Destinations {
		o.Destinations = append(o.Destinations, destinationObject{oneLine(d.Name), d.Recipients, utc(d.Oldest), d.Failures,
			utc(retryTime(d)), oneLine(d.Reason)})
	}
	return o
}

// retryTime is when a destination that failed is tried next. One that works is looked at earlier than its mail is due.
func retryTime(d queue.DestinationStats) time.Time {
	if d.Failures == 0 {
		return time.Time{}
	}
	return d.Next
}

func statsText(s queue.Stats, now time.Time) string {
	var b strings.Builder
	var recipients int64
	states := make([]string, len(queueStates))
	for i, state := range queueStates {
		recipients += s.Recipients[state]
		states[i] = fmt.Sprintf("%d %s", s.Recipients[state], state)
	}
	fmt.Fprintf(&b, "messages    %d, %s\nrecipients  %d: %s\n", s.Messages, octets(s.Octets), recipients,
		strings.Join(states, ", "))
	if !s.Oldest.IsZero() {
		fmt.Fprintf(&b, "oldest      %s, %s ago\n", localTime(s.Oldest), span(now.Sub(s.Oldest)))
	}
	if len(s.Destinations) == 0 {
		return b.String()
	}
	b.WriteString("\n")
	t := newTable(&b)
	fmt.Fprint(t, "Recipients\tOldest\tDestination\tRetry\tFailures\n")
	for _, d := range s.Destinations {
		oldest, retry := "-", "-"
		if !d.Oldest.IsZero() {
			oldest = span(now.Sub(d.Oldest))
		}
		switch at := retryTime(d); {
		case at.IsZero():
		case at.After(now):
			retry = localTime(at)
		default:
			retry = "now"
		}
		failures := "-"
		if d.Failures > 0 {
			failures = clip(fmt.Sprintf("%d: %s", d.Failures, oneLine(d.Reason)), failureWidth)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\n", d.Recipients, oldest, clip(oneLine(d.Name), destinationWidth), retry, failures)
	}
	_ = t.Flush() // into memory
	return b.String()
}

// The widest columns of the table of destinations, in characters.
const (
	destinationWidth = 40
	failureWidth     = 80
)
