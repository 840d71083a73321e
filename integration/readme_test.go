package integration

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

// block is a fenced block of a document.
type block struct{ language, text string }

var (
	fenced    = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	inCode    = regexp.MustCompile("`([^`\n]+)`")
	aLink     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	anExample = regexp.MustCompile("`(configs/[A-Za-z0-9_./-]*)`")
)

func document(t *testing.T, name string) (text string, blocks []block) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", name))
	must(t, err)
	for _, m := range fenced.FindAllStringSubmatch(string(raw), -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return string(raw), blocks
}

// theBlock is the only block in that language that has these words.
func theBlock(t *testing.T, blocks []block, language, words string) string {
	t.Helper()
	var found []string
	for _, b := range blocks {
		if b.language == language && strings.Contains(b.text, words) {
			found = append(found, b.text)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d blocks of %s have %q", len(found), language, words)
	}
	return found[0]
}

// shell runs a line of the README in a folder, where mxbypass is the program under test.
func shell(t *testing.T, dir, line string) (out string, code int) {
	t.Helper()
	bin, err := peer.Binary()
	must(t, err)
	line = regexp.MustCompile(`(^|\s)(bin/)?mxbypass\s`).ReplaceAllString(line, "${1}"+bin+" ")
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// works runs a line of the README that has to succeed.
func works(t *testing.T, dir, line string) {
	t.Helper()
	if out, code := shell(t, dir, line); code != 0 {
		t.Errorf("%s\nexit code %d\n%s", line, code, out)
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// demo runs "mxbypass demo" and gives the folder that it names.
func demo(t *testing.T, addr string) (dir string) {
	t.Helper()
	bin, err := peer.Binary()
	must(t, err)
	cmd := exec.Command(bin, "demo", "--listen", addr)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	p, err := peer.Start(cmd)
	must(t, err)
	t.Cleanup(func() {
		if err := p.Stop(syscall.SIGINT); err != nil {
			t.Errorf("the demo did not end well: %v\n%s", err, p.Output())
		}
	})
	err = peer.Until(time.Minute, "the demo", func() bool {
		select {
		case <-p.Done():
			return true
		default:
			return strings.Contains(p.Output(), "Serving until")
		}
	})
	named := regexp.MustCompile(`(?m)^configuration and mail in (/.*)$`).FindStringSubmatch(p.Output())
	if err != nil || named == nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	return named[1]
}

// The tour: every line of it, and what the comment above it promises.
func TestReadmeTour(t *testing.T) {
	text, blocks := document(t, "README.md")
	port, err := peer.FreePort()
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	dir := demo(t, addr)

	var promise string
	tried := 0
	for line := range strings.Lines(theBlock(t, blocks, "sh", "swaks")) {
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.HasPrefix(line, "#"):
			promise = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		default:
			if !strings.Contains(line, "127.0.0.1:2525") {
				t.Fatalf("it does not go to the demo: %s", line)
			}
			out, code := shell(t, dir, strings.ReplaceAll(line, "127.0.0.1:2525", addr))
			keeps(t, line, promise, out, code)
			promise = ""
			tried++
		}
	}
	if tried < 6 {
		t.Errorf("only %d lines tried", tried)
	}
	asked := strings.ReplaceAll(theBlock(t, blocks, "sh", " mx plan "), "DIR", dir)
	for line := range strings.Lines(asked) {
		works(t, dir, strings.TrimSpace(line))
	}
	// The mail is where the README looks for it: that of the demo itself, and that of the tour.
	look := "cat DIR/mail/exemple.org/foobar/Maildir/new/*"
	if !strings.Contains(text, "`"+look+"`") {
		t.Errorf("the README does not say %s", look)
	}
	out, _ := shell(t, dir, strings.ReplaceAll(look, "DIR", dir))
	if n := strings.Count(out, "Delivered-To: foobar@exemple.org"); n != 2 {
		t.Errorf("%d messages in\n%s", n, out)
	}
	waits(t, blocks, dir)
}

// keeps holds what swaks printed against the comment: a reply, or "Accepted".
func keeps(t *testing.T, line, promise, out string, code int) {
	t.Helper()
	want, _, _ := strings.Cut(promise, ":")
	accepted := want == "Accepted"
	if accepted {
		want = "250 2.0.0"
	}
	if !regexp.MustCompile(`^[245]\d\d [245]\.\d\.\d$`).MatchString(want) {
		t.Fatalf("the comment %q above %s names no reply", promise, line)
	}
	replied := slices.ContainsFunc(strings.Split(out, "\n"), func(s string) bool {
		return len(s) > 4 && strings.HasPrefix(s, "<") && strings.HasPrefix(s[4:], want+" ")
	})
	if !replied || (code == 0) != accepted {
		t.Errorf("%s\npromised: %s\nexit code %d\n%s", line, promise, code, out)
	}
}

// newcomer makes the least configuration of the README and its directory in a folder, as a newcomer does who puts the
// files elsewhere. With a driver that is not empty it is the one of the directory, in a database.
func newcomer(t *testing.T, blocks []block, dir, driver string) (config string) {
	t.Helper()
	text := strings.NewReplacer(
		`"/var/lib/mxbypass"`, fmt.Sprintf("%q", dir+"/state"),
		`"/var/mail/`, fmt.Sprintf("\"%s/", dir),
		`"/etc/mxbypass/`, fmt.Sprintf("\"%s/", dir),
	).Replace(theBlock(t, blocks, "toml", "[[gateway]]"))
	if driver != "" {
		text = strings.Replace(text, `driver = "file"`, "driver = "+driver, 1)
		text = strings.Replace(text, "directory.toml", "directory.db", 1)
	}
	// A server that nobody is: the answer does not depend on DNS.
	text += "\n[dns]\nservers = [\"127.0.0.1:9\"]\n"
	write(t, dir, "directory.toml", theBlock(t, blocks, "toml", "contact@exemple.org"))
	return write(t, dir, "mxbypass.toml", text)
}

// The least configuration delivers the address that the README begins with.
func TestReadmeConfiguration(t *testing.T) {
	text, blocks := document(t, "README.md")
	dir := t.TempDir()
	config := newcomer(t, blocks, dir, "")
	for line := range strings.Lines(theBlock(t, blocks, "sh", "config check")) {
		works(t, dir, strings.ReplaceAll(strings.TrimSpace(line), "FILE", config))
	}
	address := regexp.MustCompile(`(?m)^    (\S+%\S+@\S+)$`).FindStringSubmatch(text)
	if address == nil {
		t.Fatal("the README shows no bypass address")
	}
	works(t, dir, "mxbypass route "+address[1]+" -c "+config)

	// The commands of a directory in a database, in their order.
	dir = t.TempDir()
	driver := regexp.MustCompile("`driver = (\"[a-z]+\")`").FindStringSubmatch(text)
	if driver == nil {
		t.Fatal("the README names no driver for a database")
	}
	config = newcomer(t, blocks, dir, driver[1])
	write(t, dir, "customers.csv", theBlock(t, blocks, "csv", "address"))
	for _, b := range blocks {
		for line := range strings.Lines(b.text) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
			switch {
			case b.language != "sh":
			case strings.Contains(b.text, "domain add"), strings.Contains(b.text, "domain set"):
				works(t, dir, strings.ReplaceAll(line, "FILE", config))
			case strings.Contains(line, "--hash"):
				works(t, dir, "echo '"+aHash+"' | "+line+" -c "+config)
			case strings.Contains(b.text, "mailbox passwd"):
				works(t, dir, "echo 'one line of words' | "+line+" -c "+config)
			case strings.Contains(b.text, "dkim create"):
				works(t, dir, line+" -c "+config)
			}
		}
	}
	works(t, dir, "mxbypass config check -c "+config)
	works(t, dir, "mxbypass route "+address[1]+" -c "+config)
}

// aHash is of a password that nobody needs.
const aHash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

// What the README names in a sentence is there: commands, targets of make.
func TestReadmeNames(t *testing.T) {
	text, blocks := document(t, "README.md")
	dir := t.TempDir()
	config := newcomer(t, blocks, dir, "")
	makefile, err := os.ReadFile("../Makefile")
	must(t, err)
	commands, targets := 0, 0
	prose := fenced.ReplaceAllString(text, "")
	names := inCode.FindAllStringSubmatch(prose, -1)
	for line := range strings.Lines(theBlock(t, blocks, "sh", "make ")) {
		name, _, _ := strings.Cut(line, "#")
		names = append(names, []string{line, strings.TrimSpace(name)})
	}
	for _, m := range names {
		line := m[1]
		if target, ok := strings.CutPrefix(line, "make "); ok {
			targets++
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
				t.Errorf("there is no %s", line)
			}
		}
		if !strings.HasPrefix(line, "mxbypass ") {
			continue
		}
		commands++
		if line == "mxbypass demo" || line == "mxbypass serve" { // which other tests run
			continue
		}
		works(t, dir, strings.ReplaceAll(line, "ADDRESS", "foobar%exemple.org@mx.host.net")+" -c "+config)
	}
	if commands < 2 || targets < 3 {
		t.Errorf("%d commands, %d targets", commands, targets)
	}
	// No block of commands is left out by the tests here.
	for _, b := range blocks {
		known := []string{"make ", "swaks", " mx plan ", "config check", "domain add", "domain set", "queue stats",
			"mailbox passwd", "dkim create"}
		tested := slices.ContainsFunc(known, func(s string) bool { return strings.Contains(b.text, s) })
		if b.language == "sh" && !tested {
			t.Errorf("no test runs\n%s", b.text)
		}
	}
}

func TestReadmeLinks(t *testing.T) {
	found := 0
	for _, name := range []string{"README.md", "ARCHITECTURE.md", "CHANGELOG.md"} {
		text, _ := document(t, name)
		for _, m := range aLink.FindAllStringSubmatch(text, -1) {
			path, _, _ := strings.Cut(m[1], "#")
			if path == "" || strings.Contains(path, "://") {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join("..", path)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if found == 0 {
		t.Error("no links")
	}
}

// The README names the examples for the neighbours, all that there are, and only those.
func TestReadmeExamples(t *testing.T) {
	text, _ := document(t, "README.md")
	named := map[string]bool{}
	for _, m := range anExample.FindAllStringSubmatch(text, -1) {
		named[m[1]] = true
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Error(err)
		}
	}
	root := os.DirFS("..")
	folders, err := fs.ReadDir(root, "configs")
	must(t, err)
	examples := 0
	for _, folder := range folders {
		if !folder.IsDir() || slices.Contains([]string{"demo", "testdata"}, folder.Name()) {
			continue
		}
		must(t, fs.WalkDir(root, "configs/"+folder.Name(), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				if examples++; !named[path] {
					t.Errorf("the README does not name %s", path)
				}
			}
			return err
		}))
	}
	if examples == 0 {
		t.Error("no examples")
	}
}

// The configuration that the design promises to load, with its directory; only paths are others here.
func TestReadmeContract(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("../configs/testdata/good/contract.toml")
	must(t, err)
	for _, path := range []string{`"/var/lib/mxbypass"`, `"/var/mail/`, `"/etc/mxbypass/`} {
		if !bytes.Contains(text, []byte(path)) {
			t.Errorf("no %s in it", path)
		}
		text = bytes.ReplaceAll(text, []byte(path), []byte(strings.Replace(path, `"/`, `"`+dir+"/", 1)))
	}
	must(t, os.MkdirAll(filepath.Join(dir, "etc/mxbypass"), 0o755))
	directory, err := os.ReadFile("../configs/testdata/contract/directory.toml")
	must(t, err)
	write(t, dir, "etc/mxbypass/directory.toml", string(directory))
	config := write(t, dir, "mxbypass.toml", string(text))
	works(t, dir, "mxbypass config check -c "+config)
	works(t, dir, "mxbypass mailbox show info@exemple.org -c "+config)
}
