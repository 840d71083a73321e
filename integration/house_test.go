package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayKnow says which packages of ours a package may import, besides those below itself: mailbox ← routing ← relay ← cmd,
// configs by cmd alone, and integration nothing at all.
var mayKnow = map[string][]string{
	"mailbox":     {"mailbox"},
	"routing":     {"mailbox", "routing"},
	"relay":       {"mailbox", "routing", "relay"},
	"configs":     {"mailbox", "configs"},
	"cmd":         {"mailbox", "routing", "relay", "configs", "cmd"},
	"integration": {"integration"},
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}

// room is the first folder of a package of ours; empty for others.
func room(importPath string) string {
	path, ours := strings.CutPrefix(importPath, "mxbypass/")
	if !ours {
		return ""
	}
	first, _, _ := strings.Cut(path, "/")
	return first
}

func TestWhoMayKnowWhom(t *testing.T) {
	packages := goList(t, "./...")
	if len(packages) < 10 {
		t.Fatalf("only %d packages", len(packages))
	}
	for _, p := range packages {
		allowed, known := mayKnow[room(p.ImportPath)]
		if !known {
			t.Errorf("%s is in no room of the design", p.ImportPath)
			continue
		}
		// Test files that need a real neighbour may look at the floors below, never above: the rule is the same.
		for _, list := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for _, imported := range list {
				if r := room(imported); r != "" && !slices.Contains(allowed, r) {
					t.Errorf("%s must not import %s", p.ImportPath, imported)
				}
			}
		}
	}
}

// goFiles gives every Go file of the repository with its text.
func goFiles(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), ".") && path != "..":
			return fs.SkipDir
		case e.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		texts[strings.TrimPrefix(path, "../")] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// maxLines is what a reader can keep in mind of one file.
const maxLines = 450

func TestFilesAreShort(t *testing.T) {
	for name, text := range goFiles(t) {
		if n := strings.Count(text, "\n"); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", name, n, maxLines)
		}
	}
}

// What does not belong into source code: promises instead of work, global state, an end of the process that skips
// deferred calls, tests that do not test.
var forbidden = []struct {
	what *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`), "work or an issue, but no note"},
	{regexp.MustCompile(`(?m)^func init\(\)`), "no registration behind the reader's back"},
	{regexp.MustCompile(`\bslog\.SetDefault\b|\blog\.(Print|Fatal|Panic)`), "no global state"},
	{regexp.MustCompile(`\b[tbf]\.Skip`), "nothing is skipped"},
}

func TestNothingForbidden(t *testing.T) {
	for name, text := range goFiles(t) {
		if name == "integration/house_test.go" {
			continue
		}
		for _, f := range forbidden {
			if m := f.what.FindString(text); m != "" {
				t.Errorf("%s: %q: %s", name, m, f.why)
			}
		}
	}
}

// The list is sorted and without doubles, one package in a line: peers.sh reads it.
func TestPackagesList(t *testing.T) {
	text, err := os.ReadFile("packages.txt")
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		name := strings.TrimSuffix(line, "\n")
		if !regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`).MatchString(name) || name <= last {
			t.Errorf("%q after %q", name, last)
		}
		last = name
	}
	if last == "" {
		t.Error("empty")
	}
}
