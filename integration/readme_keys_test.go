package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// waits holds what the README says of the queue against that of the demo, in which the mail that leaves waits: it tells
// why, and every command works beside the relay.
func waits(t *testing.T, blocks []block, dir string) {
	t.Helper()
	queue := "mxbypass -c " + dir + "/mxbypass.toml queue "
	var id, out string
	err := peer.Until(time.Minute, "the reason in the queue", func() bool {
		out, _ = shell(t, dir, queue+"list --json")
		if m := regexp.MustCompile(`^\{"id":"([^"]+)"`).FindStringSubmatch(out); m != nil {
			id = m[1]
		}
		return strings.Contains(out, "refused") && strings.Contains(out, "foobar@exemple.org")
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(theBlock(t, blocks, "sh", "mxbypass queue stats")) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		line = strings.Replace(line, "mxbypass queue ", queue, 1)
		works(t, dir, regexp.MustCompile(`\bID\b`).ReplaceAllString(line, id))
	}
}

// Every other piece of a configuration is one beside the least, and every other directory is one in its place.
func TestReadmePieces(t *testing.T) {
	_, blocks := document(t, "README.md")
	least, directory := theBlock(t, blocks, "toml", "[[gateway]]"), theBlock(t, blocks, "toml", "contact@exemple.org")
	pieces := 0
	for _, b := range blocks {
		if b.language != "toml" || b.text == least || b.text == directory {
			continue
		}
		pieces++
		dir := t.TempDir()
		config := newcomer(t, blocks, dir, "")
		for _, secret := range []string{"smarthost.password", "srs.keys", "tsig.key"} {
			must(t, os.WriteFile(filepath.Join(dir, secret), []byte("0123456789abcdef0123456789abcdef\n"), 0o600))
		}
		ca, err := peer.NewCA(dir)
		must(t, err)
		issued, err := ca.Issue("mx.host.net")
		must(t, err)
		must(t, os.Rename(issued.CertFile, filepath.Join(dir, "mx.host.net.pem")))
		must(t, os.Rename(issued.KeyFile, filepath.Join(dir, "mx.host.net.key")))
		if strings.Contains(b.text, "[[domain]]") {
			write(t, dir, "directory.toml", b.text)
		} else {
			text, err := os.ReadFile(config)
			must(t, err)
			write(t, dir, filepath.Base(config), string(text)+strings.ReplaceAll(b.text, `"/etc/mxbypass/`, `"`+dir+"/"))
		}
		works(t, dir, "mxbypass config check -c "+config)
	}
	if pieces < 3 {
		t.Errorf("only %d pieces", pieces)
	}
}

// The events that the README explains are those that package maillog lists for the queue, and no others.
func TestReadmeEvents(t *testing.T) {
	text, _ := document(t, "README.md")
	_, table, _ := strings.Cut(text, "| event in the log | meaning |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	told := map[string]bool{}
	for row := range strings.Lines(table) {
		for _, m := range inCode.FindAllStringSubmatch(strings.SplitN(row, "|", 3)[1], -1) {
			told[m[1]] = true
		}
	}
	source, err := os.ReadFile("../relay/maillog/doc.go")
	must(t, err)
	_, list, _ := strings.Cut(string(source), "disconnected ")
	_, list, _ = strings.Cut(list, "//\n")
	list, _, _ = strings.Cut(list, "//\n")
	there := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^//\t(.*?)\s+(?:info|warn)\s`).FindAllStringSubmatch(list, -1) {
		for event := range strings.SplitSeq(m[1], ", ") {
			there[event] = true
			if !told[event] {
				t.Errorf("the README does not explain %q", event)
			}
		}
	}
	for event := range told {
		if !there[event] {
			t.Errorf("there is no event %q", event)
		}
	}
}

// Every key that the README names is one of the reference.
func TestReadmeKeys(t *testing.T) {
	text, _ := document(t, "README.md")
	reference, err := os.ReadFile("../configs/reference.toml")
	must(t, err)
	keys := 0
	for _, m := range regexp.MustCompile("`([a-z]+(?:_[a-z]+)+)(?: = [^`\n]*)?`").FindAllStringSubmatch(text, -1) {
		keys++
		if !regexp.MustCompile(`(?m)^` + m[1] + ` = `).Match(reference) {
			t.Errorf("the reference has no key %s", m[1])
		}
	}
	if keys < 6 {
		t.Errorf("only %d keys", keys)
	}
}
