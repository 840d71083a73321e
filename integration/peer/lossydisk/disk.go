package lossydisk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// patience is how long the helper may take for anything, on a busy machine.
const patience = 30 * time.Second

// Loss is what becomes of what was written and not flushed.
type Loss int

const (
	// LoseAll: it is gone.
	LoseAll Loss = iota
	// LoseSome: some of it is on the medium, of each sector any version that was written; the seed says which.
	LoseSome
)

// String names the loss in the names of tests.
func (l Loss) String() string {
	if l == LoseSome {
		return "some"
	}
	return "all"
}

// Report counts what was there at a cut: flushes since the disk was attached, sectors that were not flushed, and how many
// of these are on the medium nevertheless.
type Report struct{ Flushes, Volatile, Kept int }

// Disk is an attached disk.
type Disk struct {
	Device string

	cmd     *exec.Cmd
	control *os.File
	answers *os.File
	output  bytes.Buffer // complete when the helper has ended
}

// Attach makes an image a disk. The image is the medium, and stays when the disk is closed.
func Attach(image string) (*Disk, error) {
	input, control, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	answers, output, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, input.Close(), control.Close())
	}
	d := &Disk{control: control, answers: answers}
	d.cmd = exec.Command("/proc/self/exe")
	// The race detector waits a second before the end of a process, for others to report.
	d.cmd.Env = append(os.Environ(), helperVariable+"="+image, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = input, output, &d.output
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test; the helper then cleans up
	err = errors.Join(d.cmd.Start(), input.Close(), output.Close())
	if err != nil {
		return nil, errors.Join(err, control.Close(), answers.Close())
	}
	if err := d.answer(&d.Device); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// answer reads a line of the helper.
func (d *Disk) answer(values ...any) error {
	if err := d.answers.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fscanln(d.answers, values...); err != nil {
		return fmt.Errorf("lossydisk: the helper does not answer: %w", err)
	}
	return nil
}

// Cut takes the power away. What is asked of the device from here on fails.
func (d *Disk) Cut(how Loss, seed uint64) (r Report, err error) {
	if _, err := fmt.Fprintf(d.control, "cut %d %d\n", how, seed); err != nil {
		return r, fmt.Errorf("lossydisk: %w", err)
	}
	return r, d.answer(&r.Flushes, &r.Volatile, &r.Kept)
}

// Close takes the disk off. What was not flushed is lost, as it is when the power was cut.
func (d *Disk) Close() error {
	err := errors.Join(d.control.Close(), d.answers.Close())
	kill := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer kill.Stop()
	if werr := d.cmd.Wait(); werr != nil {
		err = errors.Join(err, fmt.Errorf("lossydisk: the helper: %w\n%s", werr, d.output.Bytes()))
	}
	return err
}
