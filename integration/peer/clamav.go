package peer

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// EICAR is the text that every virus scanner finds, and that harms nobody. It stands here in two halves, so that none
// finds this file.
const EICAR = `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + `EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// ClamAV is a private clamd with clamav-milter before it. It knows one virus, which is EICAR.
type ClamAV struct {
	Scanner, Milter *Process
	Addr            string // of the milter
}

// StartClamAV runs both with their files in a folder. What is infected is rejected as "virus" with its name.
func StartClamAV(dir string) (*ClamAV, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	c := &ClamAV{Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	known, scratch := filepath.Join(dir, "signatures"), filepath.Join(dir, "scratch")
	for _, d := range []string{known, scratch} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	scanner, milter := filepath.Join(dir, "clamd.conf"), filepath.Join(dir, "clamav-milter.conf")
	socket := filepath.Join(dir, "clamd.sock")
	for path, text := range map[string]string{
		filepath.Join(known, "eicar.ndb"): "Eicar-Test-Signature:0:*:" + hex.EncodeToString([]byte(EICAR)) + "\n",
		scanner: "DatabaseDirectory " + known + "\nLocalSocket " + socket + "\nTemporaryDirectory " + scratch +
			"\nForeground yes\nMaxThreads 2\nSelfCheck 0\nBytecode no\nPhishingSignatures no\nConcurrentDatabaseReload no\n",
		milter: fmt.Sprintf("MilterSocket inet:%d@127.0.0.1\n", port) + "ClamdSocket unix:" + socket +
			"\nTemporaryDirectory " + scratch + "\nForeground yes\nOnInfected Reject\nRejectMsg virus %v\nOnFail Defer\n" +
			"AddHeader Replace\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if c.Scanner, err = Start(exec.Command("/usr/sbin/clamd", "-c", scanner)); err != nil {
		return nil, err
	}
	if err := Until(patience, "clamd to listen", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	}); err != nil {
		c.Close()
		return nil, fmt.Errorf("%w\n%s", err, c.Scanner.Output())
	}
	if c.Milter, err = Start(exec.Command("/usr/sbin/clamav-milter", "-c", milter)); err == nil {
		err = c.Milter.listening(c.Addr, "")
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends both.
func (c *ClamAV) Close() {
	for _, p := range []*Process{c.Milter, c.Scanner} {
		if p != nil {
			_ = p.Stop(syscall.SIGTERM)
		}
	}
}
