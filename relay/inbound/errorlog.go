package inbound

import (
	"fmt"
	"log/slog"
	"strings"

	"mxbypass/mailbox"
)

// errorLog takes what go-smtp has to complain about.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) { l.print(fmt.Sprintf(format, v...)) }
func (l errorLog) Println(v ...any)               { l.print(fmt.Sprintln(v...)) }

func (l errorLog) print(s string) {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, line := range lines {
		lines[i] = mailbox.Printable(strings.ReplaceAll(line, "\t", "  "))
	}
	l.log.Error("go-smtp", "error", strings.Join(lines, "\n"))
}
