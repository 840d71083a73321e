package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The programs that read our notifications: what mailing lists do with their bounces. The message comes on standard
// input, with the line ends of a mailbox file; the answer is JSON. They are Debian's, so that they need Debian's
// interpreters, whatever else is first in the path.
//
// What they cannot do: neither knows message/global-delivery-status (RFC 6533). flufl.bounce reads an address with a colon
// as a group, so that of an ORCPT that stays encoded only the end is left, and cuts an address that is not quoted at "="
// (SRS0=… is "srs0"). BounceParser names no address unless every recipient failed, and reads only the first recipient when
// lines end with CRLF.
const (
	fluflBounce = `
import email, json, sys
from flufl.bounce import all_failures
delayed, failed = all_failures(email.message_from_binary_file(sys.stdin.buffer))
print(json.dumps({"Delayed": sorted(a.decode() for a in delayed), "Failed": sorted(a.decode() for a in failed)}))
`
	bounceParser = `
use strict; use warnings; use JSON::PP; use Mail::DeliveryStatus::BounceParser;
my $b = Mail::DeliveryStatus::BounceParser->new(do { local $/; <STDIN> });
my $id = $b->orig_message_id // ""; $id =~ s/\s+$//;
print encode_json({Bounce => $b->is_bounce ? JSON::PP::true : JSON::PP::false, Type => $b->{type} // "", MessageID => $id,
	Reports => [map { $_->get("email") . " " . $_->get("std_reason") . " " . $_->get("smtp_code") } $b->reports]});
`
)

// understood is what the two programs make of a notification.
type understood struct {
	Delayed, Failed []string // flufl.bounce

	Bounce          bool // BounceParser
	Type, MessageID string
	Reports         []string // address, reason, code
}

// Notifications of the relay, as they stand in relay/dsn/testdata, are understood by programs of others.
func TestForeignParsersReadNotifications(t *testing.T) {
	const id = "<lunch.1@exemple.org>"
	nobody := []string{"nobody@elsewhere.example"}
	wants := map[string]understood{
		"failed": {
			Failed: nobody, Bounce: true, MessageID: id,
			Reports: []string{"nobody@elsewhere.example user_unknown 550"},
		},
		"several": {
			Failed: []string{"every+body@exemple.org", "nobody@elsewhere.example", "who@gone.example"},
			Bounce: true, MessageID: id, Reports: []string{
				"nobody@elsewhere.example user_unknown 550", "every+body@exemple.org over_quota 452",
				"who@gone.example domain_error 512",
			},
		},
		"delayed":       {Delayed: nobody, Type: "delivery-status delayed", MessageID: id},
		"delivered":     {Type: "delivery-status delivered", MessageID: id},
		"relayed":       {Type: "delivery-status relayed", MessageID: id},
		"international": {Bounce: true},
		"hostile": {
			Failed: []string{"+20delivered"}, Bounce: true, MessageID: "<a b@c>",
			Reports: []string{"x+0D+0AAction:+20delivered unknown 550"},
		},
	}
	files, err := filepath.Glob("../relay/dsn/testdata/*.eml")
	must(t, err)
	if len(files) != len(wants) {
		t.Errorf("%d notifications, want %d", len(files), len(wants))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			must(t, err)
			text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
			want := wants[name]
			var got understood
			ask(t, text, &got, "/usr/bin/python3", "-c", fluflBounce)
			ask(t, text, &got, "/usr/bin/perl", "-e", bounceParser)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// ask runs a program on a message and reads its answer.
func ask(t *testing.T, message []byte, answer any, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(message)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, stderr.Bytes())
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
