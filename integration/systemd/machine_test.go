//go:build systemd

package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxbypass/integration/peer"
)

const (
	// inside says that this process is the one in the machine.
	inside = "MXBYPASS_TEST_MACHINE"
	// source is where the machine has this repository, as an operator has unpacked it.
	source = "/usr/src/mxbypass"
	// program is where the machine has these tests.
	program = "/usr/local/bin/mxbypass-test"
)

// packages are those that the machine has beside Debian's essential ones.
var packages = []string{"dbus", "pebble", "swaks", "systemd-sysv"}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	do := outside
	if os.Getenv(inside) != "" {
		do = func() (int, error) { return tests(m) }
	}
	code, err := do()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(1, code)
	}
	return code
}

// outside boots a machine and runs this program in it.
func outside() (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("a machine can be booted by root only")
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		return 1, err
	}
	if _, err := os.Stat(filepath.Join(repository, "bin/mxbypass")); err != nil {
		return 1, fmt.Errorf("make build comes first: %w", err)
	}
	system, err := debian()
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "mxbypass-machine-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root := filepath.Join(dir, "root")
	if err := command("cp", "-a", "--reflink=auto", system, root); err != nil {
		return 1, err
	}
	m, err := boot(root, repository)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, m.halt()) }()
	return m.test()
}

// debian gives the folder of a system that was never booted, and makes it when it is not there.
func debian() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	system := filepath.Join(cache, "mxbypass", "bookworm-"+strings.Join(packages, "-"))
	if _, err := os.Stat(system); !errors.Is(err, fs.ErrNotExist) {
		return system, err
	}
	fmt.Println("debootstrap makes a system at", system, "which takes some minutes")
	half := system + ".new"
	if err := errors.Join(os.RemoveAll(half), os.MkdirAll(filepath.Dir(half), 0o755)); err != nil {
		return "", err
	}
	err = command("debootstrap", "--variant=minbase", "--include="+strings.Join(packages, ","), "bookworm", half)
	if err != nil {
		return "", err
	}
	return system, os.Rename(half, system)
}

// machine is a system that runs, with systemd as its first process.
type machine struct {
	nspawn *peer.Process
	first  int // the number of its first process out here
	groups []string
}

// boot starts a system. It has the usual rights of a container, no filter of system calls but those of its units, and as
// many files as a real machine lets them have.
func boot(root, repository string) (m *machine, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m = &machine{}
	args := []string{
		"--directory=" + root, "--boot", "--machine=mx", "--hostname=mx", "--register=no", "--link-journal=no",
		"--console=pipe", "--private-network", "--rlimit=RLIMIT_NOFILE=1048576",
		"--bind-ro=" + repository + ":" + source, "--bind-ro=" + exe + ":" + program,
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil { // nobody here gives out control groups: make them
		args = append(args, "--keep-unit")
		if m.groups, err = controlGroups(); err != nil {
			return nil, err
		}
	}
	// The shell goes into the groups before it becomes systemd-nspawn.
	script := `for group in $GROUPS_OF_IT; do echo $$ >$group/cgroup.procs || exit; done; exec systemd-nspawn "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "GROUPS_OF_IT="+strings.Join(m.groups, " "),
		"SYSTEMD_SECCOMP=0", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	if m.nspawn, err = peer.Start(cmd); err != nil {
		return nil, errors.Join(err, m.removeGroups())
	}
	err = peer.Until(time.Minute, "the first process of the machine", func() bool {
		m.first = m.child()
		return m.first != 0 || m.ended()
	})
	if err == nil && m.ended() {
		err = errors.New("the machine does not start")
	}
	if err == nil {
		var out []byte
		err = peer.Until(2*time.Minute, "the machine", func() bool {
			out, _ = m.command("systemctl", "is-system-running", "--wait").CombinedOutput()
			return string(out) == "running\n" || m.ended()
		})
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, m.nspawn.Output()), m.halt())
	}
	return m, nil
}

func (m *machine) ended() bool {
	select {
	case <-m.nspawn.Done():
		return true
	default:
		return false
	}
}

// child gives the process of systemd-nspawn that has become systemd; 0: none has yet.
func (m *machine) child() int {
	pid := strconv.Itoa(m.nspawn.Cmd.Process.Pid)
	children, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
	if err != nil {
		return 0
	}
	for child := range strings.FieldsSeq(string(children)) {
		name, err := os.ReadFile(filepath.Join("/proc", child, "comm"))
		if err == nil && string(name) == "systemd\n" {
			n, _ := strconv.Atoi(child) // as the kernel has written it
			return n
		}
	}
	return 0
}

// command is a program in the machine, which root runs.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	enter := []string{
		"--target", strconv.Itoa(m.first), "--all", "--wdns=" + source, "env", "-i", "HOME=/root", "LC_ALL=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", inside + "=1", name,
	}
	return exec.Command("nsenter", append(enter, args...)...)
}

// test runs these tests in the machine, with the flags of this run.
func (m *machine) test() (code int, err error) {
	flags := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(flag string) bool {
		return strings.HasPrefix(flag, "-test.testlogfile") // for what go test may take from its cache
	})
	cmd := m.command(program, flags...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return max(1, failed.ExitCode()), nil
	}
	return 0, err
}

// halt ends the machine in order, or else at once.
func (m *machine) halt() error {
	if m.first != 0 && !m.ended() {
		for _, sig := range []syscall.Signal{rtmin + 4, syscall.SIGKILL} { // "systemctl poweroff"
			if err := syscall.Kill(m.first, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
			if peer.Until(2*time.Minute, "the end of the machine", m.ended) == nil {
				break
			}
		}
	}
	err := m.nspawn.Stop(syscall.SIGTERM)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, m.nspawn.Output())
	}
	return errors.Join(err, m.removeGroups())
}

// rtmin is SIGRTMIN of the C library.
const rtmin syscall.Signal = 34

// controlGroups makes a group of our own in each hierarchy that systemd wants.
func controlGroups() ([]string, error) {
	var groups []string
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(filepath.Join(hierarchy, "cgroup.procs")); err != nil {
			continue // a folder of hierarchies, or a hierarchy that is not there
		}
		group := filepath.Join(hierarchy, fmt.Sprintf("mxbypass-%d", os.Getpid()))
		if err := os.Mkdir(group, 0o755); err != nil {
			return nil, err
		}
		groups = append(groups, group)
	}
	if len(groups) == 0 {
		return nil, errors.New("there are no control groups at /sys/fs/cgroup")
	}
	return groups, nil
}

// removeGroups removes our groups with those in them, the lowest first. They are empty.
func (m *machine) removeGroups() error {
	var folders []string
	for _, group := range m.groups {
		err := filepath.WalkDir(group, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				folders = append(folders, path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	slices.Reverse(folders)
	var errs []error
	for _, path := range folders {
		errs = append(errs, syscall.Rmdir(path))
	}
	return errors.Join(errs...)
}

func command(name string, args ...string) error {
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.Bytes())
	}
	return nil
}
