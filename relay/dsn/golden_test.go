package dsn

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxbypass/mailbox"
)

var update = flag.Bool("update", false, "write testdata/*.eml")

// goldens are the notifications of testdata, by the name of their file. integration/dsn_parsers_test.go has foreign
// programs read the same files.
func goldens(t *testing.T) map[string]Notification {
	unknownUser := Recipient{
		Action: Failed, Written: "nobody@elsewhere.example", Original: "rfc822;nobody@elsewhere.example",
		Status: [3]int{5, 1, 1}, RemoteMTA: "mx1.elsewhere.example", Diagnostic: "550 5.1.1 No such user here",
		Reason: "there is no such mailbox",
	}
	failed := notification(t, unknownUser)
	failed.Original.EnvelopeID, failed.Original.Return = "QQ314159+2B1", mailbox.ReturnFull

	several := notification(t, unknownUser)
	several.Original.Return = mailbox.ReturnHeaders
	several.Recipients = append(several.Recipients,
		Recipient{
			Action: Failed, Final: address(t, "full+news@elsewhere.example"), Written: "everybody@exemple.org",
			Original: "rfc822;every+2Bbody@exemple.org", Status: [3]int{4, 2, 2}, RemoteMTA: "mx2.elsewhere.example",
			Diagnostic: "452 4.2.2 The recipient's inbox is out of storage space and cannot take more.\n" +
				"For more information, go to https://support.elsewhere.example/answer/6558 and read it.",
			Reason: "it was tried for 5 days, and the mailbox was full each time", Last: now,
		},
		Recipient{
			Action: Failed, Final: address(t, "who@gone.example"), Written: "who@gone.example",
			Status: [3]int{5, 1, 2}, Last: now,
		})

	delayed := notification(t, Recipient{
		Action: Delayed, Written: "nobody@elsewhere.example", Original: "rfc822;nobody@elsewhere.example",
		Status: [3]int{4, 4, 1}, Reason: "the server does not answer",
		RetryUntil: arrived.Add(5 * 24 * time.Hour),
	})
	delivered := notification(t, Recipient{
		Action: Delivered, Written: "nobody@elsewhere.example", Status: [3]int{2, 1, 5}, RemoteMTA: "mx1.elsewhere.example",
		Diagnostic: "250 2.1.5 kept",
	})
	relayed := notification(t, Recipient{
		Action: Relayed, Written: "nobody@elsewhere.example", Status: [3]int{2, 0, 0}, RemoteMTA: "mx1.elsewhere.example",
	})

	international := notification(t, Recipient{
		Action: Failed, Final: address(t, "jürgen@bücher.example"), Written: "jürgen@bücher.example",
		Original: `utf-8;j\x{FC}rgen@xn--bcher-kva.example`, Status: [3]int{5, 1, 1}, RemoteMTA: "mx.xn--bcher-kva.example",
		Diagnostic: "550 5.1.1 jürgen ist unbekannt",
	})
	international.Original.UTF8Header = true
	international.Original.Content = memory("From: jo@exemple.org\r\nTo: jürgen@bücher.example\r\n\r\nGrüße\r\n")

	hostile := notification(t, Recipient{
		Action: Failed, Written: "a\"> b@elsewhere.example", Final: address(t, `"a\"> b"@elsewhere.example`),
		Original: "rfc822;x+0D+0AAction:+20delivered", Status: [3]int{9, 1, -1},
		RemoteMTA: "mx.evil.example\r\nAction: delivered", Diagnostic: "550 \x1b[2J\r\n\r\n--=_x\r\nAction: delivered\x00" +
			strings.Repeat(" all this is said by a server that never stops", 1000),
	})
	hostile.Original.EnvelopeID = "x+0D+0AReporting-MTA:+20dns"
	hostile.Original.Content = memory("Subject: a\r\nMessage-ID: <a b@c>\r\n\r\n" +
		"--=_x\r\nContent-Type: text/html\r\n\r\n--=_x--\r\n\xff")

	return map[string]Notification{
		"failed": failed, "several": several, "delayed": delayed, "delivered": delivered, "relayed": relayed,
		"international": international, "hostile": hostile,
	}
}

// The notifications are those of testdata, but for the boundary.
func TestGolden(t *testing.T) {
	all := goldens(t)
	for name, n := range all {
		t.Run(name, func(t *testing.T) {
			got := compose(t, n)
			_, boundary, _ := strings.Cut(got.raw, `boundary="`)
			boundary, _, _ = strings.Cut(boundary, `"`)
			text := strings.ReplaceAll(got.raw, boundary, "=_26-letters-that-vary---")
			file := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) != len(all) {
		t.Errorf("%d files, %d notifications (%v)", len(files), len(all), err)
	}
}
