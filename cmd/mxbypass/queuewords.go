package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"mxbypass/mailbox"
	"mxbypass/relay/queue"
)

// listWidth bounds the lines of the list, in characters.
const listWidth = 120

// timeLayout is how people read a time: local, with its zone.
const timeLayout = "2006-01-02 15:04:05 MST"

func localTime(t time.Time) string { return t.Local().Format(timeLayout) }

// span is a time span in its two greatest units, such as 2h5m or 3d4h.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// octets is a size in its greatest unit.
func octets(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1023.95 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[unit])
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clip cuts a text that is longer than width characters.
func clip(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	runes := []rune(s)
	return string(runes[:width-1]) + "…"
}

// oneLine is what came from elsewhere in one printable line.
func oneLine(s string) string { return mailbox.Printable(strings.Join(strings.Fields(s), " ")) }

// nextAttempt is when a waiting item is tried: when it is due itself, and its destination too. Zero: it does not wait.
func nextAttempt(l queue.Listed) time.Time {
	switch {
	case l.State != queue.Waiting:
		return time.Time{}
	case l.Destination.Due.After(l.Due):
		return l.Destination.Due
	}
	return l.Due
}

// whenNext says when an item is tried next.
func whenNext(l queue.Listed, now time.Time) string {
	next := nextAttempt(l)
	switch {
	case l.State == queue.Active:
		return "being tried"
	case next.IsZero():
		return "-"
	case !next.After(now):
		return "now"
	}
	return localTime(next)
}

// lastFailure is the newer one of the failures of an item and of its destination; nil: there is none.
func lastFailure(l queue.Listed) *queue.Attempt {
	own, common := l.Last, l.Destination.Last
	if own == nil || common != nil && common.Time.After(own.Time) {
		return common
	}
	return own
}

// failureWords is a failure as the other server worded it, with its host, in one printable line.
func failureWords(f *queue.Attempt) string {
	var b strings.Builder
	b.WriteString(oneLine(f.Host))
	command := oneLine(f.Command)
	switch {
	case f.Code != 0 && command != "" && b.Len() > 0:
		fmt.Fprintf(&b, " answered %s with ", command)
	case b.Len() > 0:
		b.WriteString(": ")
	case f.Code == 0 && command != "":
		fmt.Fprintf(&b, "%s: ", command)
	}
	if f.Code != 0 {
		fmt.Fprintf(&b, "%d ", f.Code)
		if class := f.Code / 100; f.Enhanced[0] == class && f.Enhanced != [3]int{class} { // else it is no word of the server
			fmt.Fprintf(&b, "%s ", enhancedCode(f.Enhanced))
		}
	}
	b.WriteString(oneLine(f.Text))
	return b.String()
}

func enhancedCode(e [3]int) string { return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2]) }
