package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mxbypass/integration/peer"
)

// Domains of the demo's zones, each with one mailbox; their policies are "auto", so that DNS decides about plain mail.
func zoneDomains() string {
	var text strings.Builder
	for _, name := range []string{"exemple.org", "microsoft.example", "ovh.example", "gandi.example", "ours.example",
		"mixed.example", "broken.example", "null.example", "nomx.example", "doubled.example"} {
		fmt.Fprintf(&text, "[[domain]]\nname = %q\nsite = \"cloud\"\nmailboxes = [\"foobar\"]\n", name)
	}
	return text.String()
}

// The zones of the demo behind a real DNS server: what the relay says of them, by mail and by command.
func TestRealDNSServer(t *testing.T) {
	zones, err := filepath.Abs(filepath.Join("..", "configs", "demo", "zones"))
	must(t, err)
	nsd, err := peer.StartNSD(t.TempDir(), zones)
	must(t, err)
	running := true
	defer func() {
		if running {
			must(t, nsd.Close())
		}
	}()
	s := start(t, settings{dns: nsd.Addr, domains: zoneDomains()})
	for domain, by := range map[string]string{
		"exemple.org": ", bypassing Google Workspace", "microsoft.example": ", bypassing Microsoft 365",
		"ovh.example": ", bypassing OVH", "gandi.example": ", bypassing Gandi", "mixed.example": ", bypassing OVH",
		"ours.example": "", "broken.example": "", "null.example": "", "nomx.example": "",
	} {
		reply := s.deliver(t, "foobar%"+domain+"@mx.host.test", "Subject: x\r\n\r\nx\r\n")
		wantReply(t, reply, "250 2.0.0 delivered to foobar@"+domain+by+", id ")
	}
	plain := map[string]string{ // mail for nobody, from a stranger
		"ours.example": "550 5.1.1", "mixed.example": "550 5.1.1", "exemple.org": "550 5.1.1", "null.example": "550 5.1.1",
		"nomx.example": "550 5.1.1", "broken.example": "451 4.4.3",
	}
	for domain, want := range plain {
		wantReply(t, s.deliver(t, "nobody@"+domain, "Subject: x\r\n\r\nx\r\n"), want)
	}
	for domain, want := range map[string]struct {
		exit     int
		kind     string
		provider string
	}{
		"exemple.org": {0, "external", "Google Workspace"}, "microsoft.example": {0, "external", "Microsoft 365"},
		"ovh.example": {0, "external", "OVH"}, "gandi.example": {0, "external", "Gandi"}, "ours.example": {0, "self", ""},
		"null.example": {0, "null", ""}, "doubled.example": {1, "none", ""}, "broken.example": {75, "unknown", ""},
	} {
		out, err := exec.Command(s.Binary, "mx", domain, "--json", "-c", s.Config).Output()
		exit := 0
		if e := (*exec.ExitError)(nil); errors.As(err, &e) {
			exit = e.ExitCode()
		} else {
			must(t, err)
		}
		var got struct{ State, Provider string }
		if err := json.Unmarshal(out, &got); err != nil || exit != want.exit || got.State != want.kind || got.Provider != want.provider {
			t.Errorf("mx %s: exit %d (%v), want %+v\n%s", domain, exit, err, want, out)
		}
	}
	out, _ := exec.Command(s.Binary, "mx", "doubled.example", "-c", s.Config).CombinedOutput()
	if !strings.Contains(string(out), "doubled.example.doubled.example") {
		t.Errorf("the doubled name is not found:\n%s", out)
	}
	// The server goes away: what it has said is remembered.
	must(t, nsd.Close())
	running = false
	for domain, want := range plain {
		wantReply(t, s.deliver(t, "nobody@"+domain, "Subject: x\r\n\r\nx\r\n"), want)
	}
	wantReply(t, s.deliver(t, "foobar%exemple.org@mx.host.test", "Subject: x\r\n\r\nx\r\n"),
		"250 2.0.0 delivered to foobar@exemple.org, bypassing Google Workspace")
}
