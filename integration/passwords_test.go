package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Dovecot and we verify each other's passwords: so mailboxes move from one to the other and back.
func TestPasswordsOfDovecot(t *testing.T) {
	t.Parallel()
	const password = "Grüße, Welt!"
	dir := t.TempDir()
	config := filepath.Join(dir, "mxbypass.toml")
	for name, text := range map[string]string{
		config: fmt.Sprintf("hostname = \"mx.host.test\"\nstate_dir = %q\n[[listener]]\naddress = \"127.0.0.1:2525\"\n"+
			"[[gateway]]\nhost = \"mx.host.test\"\nsites = [\"*\"]\n[[site]]\nname = \"cloud\"\nstore = \"maildir\"\n"+
			"path = \"%s/{domain}/{user}\"\n[directory]\ndriver = \"file\"\npath = \"%[2]s/directory.toml\"\n", dir+"/state", dir),
		filepath.Join(dir, "directory.toml"): "[[domain]]\nname = \"exemple.org\"\nsite = \"cloud\"\nmailboxes = [\"foobar\"]\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(input string, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	line := regexp.MustCompile(`^"foobar" = "(\S+)"$`)
	ours := line.FindStringSubmatch(run(password+"\n", plain, "mailbox", "passwd", "foobar@exemple.org", "-c", config))
	if ours == nil {
		t.Fatal("no line for the file of the directory")
	}
	if said := run("", "doveadm", "pw", "-t", "{ARGON2ID}"+ours[1], "-p", password); !strings.Contains(said, "(verified)") {
		t.Errorf("Dovecot does not know our hash: %s", said)
	}
	for _, scheme := range []string{"ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT"} {
		theirs := run("", "doveadm", "pw", "-s", scheme, "-p", password)
		said := run(theirs+"\n", plain, "mailbox", "passwd", "--hash", "-", "foobar@exemple.org", "-c", config)
		got := line.FindStringSubmatch(said)
		if got == nil || got[1] != theirs {
			t.Errorf("%s became %q", theirs, got)
		}
	}
}
