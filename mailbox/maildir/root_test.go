package maildir

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Others come through what is made above the Maildirs, whatever the umask; what is there already stays as it is.
func TestMakeRoot(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer syscall.Umask(syscall.Umask(0o077))
	root := filepath.Join(dir, "a", "b")
	for range 2 {
		if err := makeRoot(root); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Dir(root): 0o755, root: 0o755} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeRoot(filepath.Join(file, "c")); err == nil {
		t.Error("a folder in a file")
	}
}
