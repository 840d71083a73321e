package filter

import (
	"strings"
	"testing"

	"github.com/d--j/go-milter"
)

func TestRejection(t *testing.T) {
	for reply, want := range map[string]string{
		"550 5.7.1 no":                       "550 5.7.1 no",
		"550 no":                             "550 5.7.1 no",
		"450 4.2.0 later":                    "450 4.2.0 later",
		"450 5.2.0 later":                    "450 4.7.1 later",
		"421 4.7.0 closing":                  "451 4.7.0 closing",
		"421-4.7.0 a\r\n421 4.7.0 b":         "451 4.7.0 a b",
		"599 5.0.0 odd":                      "550 5.0.0 odd",
		"499 odd":                            "451 4.7.1 odd",
		"554 5.7.1 100%% spam":               "554 5.7.1 100% spam",
		"554 5.7.1 \x1b[2J\tbell\x07 é":      "554 5.7.1 ?[2J bell? ?",
		"554 5.7.1":                          "554 5.7.1 refused by a mail filter",
		"554 ":                               "554 5.7.1 refused by a mail filter",
		"554 5.1000.1 x":                     "554 5.7.1 5.1000.1 x",
		"554 1.2.3.4 is listed":              "554 5.7.1 1.2.3.4 is listed",
		"554 " + strings.Repeat("word ", 99): "554 5.7.1 " + strings.Repeat("word ", 99)[:maxText],
	} {
		code := uint16(reply[0]-'0')*100 + uint16(reply[1]-'0')*10 + uint16(reply[2]-'0')
		r := rejection("f", &milter.Action{Type: milter.ActionRejectWithCode, SMTPCode: code, SMTPReply: reply})
		if got := strings.TrimPrefix(r.Error(), `filter "f": `); got != want {
			t.Errorf("%q: %q, want %q", reply, got, want)
		}
	}
}
