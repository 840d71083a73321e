package trust

import (
	"encoding/base64"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"mxbypass/integration/peer"
)

// gtube is the text that every spam filter refuses.
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

// filters are the ones of the world, and a relay that asks them, in this order, after one that is not there.
type filters struct {
	*world
	scanner *peer.ClamAV
	spam    *peer.Rspamd
	signer  *peer.OpenDKIM
}

func startFilters(t *testing.T, timeout string) *filters {
	t.Helper()
	f := &filters{}
	var err error
	f.scanner, err = peer.StartClamAV(t.TempDir())
	must(t, err)
	t.Cleanup(f.scanner.Close)
	f.spam, err = peer.StartRspamd(t.TempDir())
	must(t, err)
	t.Cleanup(func() { _ = f.spam.Close() }) // the test may have ended it
	key, err := peer.NewSigningKey("client.test", "filter", "rsa-sha256")
	must(t, err)
	f.signer, err = peer.StartOpenDKIMSigner(t.TempDir(), key.Domain, key.Selector, key.PEM)
	must(t, err)
	t.Cleanup(f.signer.Close)
	nobody, err := peer.FreePort()
	must(t, err)
	tables := fmt.Sprintf("[[filter]]\nname = \"nobody\"\naddress = \"127.0.0.1:%d\"\nwhen_down = \"accept\"\n", nobody)
	for name, addr := range map[string]string{"clamav": f.scanner.Addr, "rspamd": f.spam.Addr, "opendkim": f.signer.Addr} {
		tables += fmt.Sprintf("[[filter]]\nname = %q\naddress = %q\ntimeout = %q\n", name, addr, timeout)
	}
	f.world = start(t, settings{
		records:  []string{key.Record},
		listener: `filters = ["nobody", "clamav", "rspamd", "opendkim"]`,
		more:     tables,
	})
	return f
}

// Filters of others refuse what they know, and what they let through is delivered as they have seen and changed it.
func TestFilters(t *testing.T) {
	t.Parallel()
	f := startFilters(t, "50s")
	bodies := map[string]string{
		"text":    "Hello.\r\n",
		"none":    "",
		"spaces":  "  two  \t\r\n\r\n.dots\r\n..\r\n\r\n",
		"long":    strings.Repeat("0123456789 abcdef\r\n", 30000),
		"unusual": "caf\xe9 \x01\x7f\r\n",
	}
	for name, body := range bodies {
		head := "From: Ann <a@client.test>\r\nTo: foobar@exemple.org\r\nSubject:  hello\r\n\tagain\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\n" +
			"Message-ID: <" + name + "@client.test>\r\n"
		got := f.got("127.0.0.5", "a@client.test", head+"\r\n"+body)
		if !strings.HasSuffix(got, "\r\n\r\n"+body) || !strings.Contains(got, head) {
			t.Errorf("%s: it was changed:\n%.3000q", name, got)
		}
		for _, field := range []string{"X-Virus-Status", "X-Spamd-Bar", "DKIM-Signature", "Authentication-Results"} {
			if len(fields(got, field)) != 1 {
				t.Errorf("%s: not one %s in\n%.3000s", name, field, got)
			}
		}
		holding(f.world, got, "client.test", "rsa-sha256")
	}
	attached := "MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=x.com\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(peer.EICAR)) + "\r\n"
	start := strings.TrimSuffix(text, "\r\nHello.\r\n")
	for content, want := range map[string]string{
		start + "\r\n" + peer.EICAR + "\r\n": "550 5.7.1 ",
		start + attached:                     "550 5.7.1 ",
		start + "what is this\r\n" + peer.EICAR + "\r\n\r\nHello.\r\n": "550 5.7.1 ",
		start + "\r\n" + gtube + "\r\n":                                "554 5.7.1 ",
	} {
		wantReply(t, f.send("127.0.0.5", "a@client.test", box, content), want)
	}
	if n := len(f.inbox("foobar@exemple.org")); n != len(bodies) {
		t.Errorf("%d messages, want %d", n, len(bodies))
	}
	if log := f.spam.Output(); !strings.Contains(log, "rcpts: <foobar@exemple.org>") || strings.Contains(log, box) {
		t.Error("rspamd was not told of the mailbox")
	}
	if log := f.Output(); !strings.Contains(log, "filter=nobody") {
		t.Error("nothing is said of the filter that is not there")
	}
}

// While a filter hangs or is gone, mail waits at its sender; when it is there again, mail goes on.
func TestFiltersDown(t *testing.T) {
	t.Parallel()
	f := startFilters(t, "10s")
	must(t, f.scanner.Scanner.Cmd.Process.Signal(syscall.SIGSTOP))
	wantReply(t, f.send("127.0.0.5", "a@client.test", box, text), "451 4.7.1 ")
	must(t, f.scanner.Scanner.Cmd.Process.Signal(syscall.SIGCONT))
	f.got("127.0.0.5", "a@client.test", text)
	must(t, f.spam.Close())
	wantReply(t, f.send("127.0.0.5", "a@client.test", box, text), "451 4.7.1 ")
}
